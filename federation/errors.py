"""Errors of federation: one base, one class a cause, each with two faces.

The message names the cause and goes to the log; `public` is the safe text and `status` the
HTTP status that a stranger may see. Which errors are worth another try is the caller's to say.
"""

from typing import ClassVar


class FederationError(Exception):
    """Something a peer sent, or was asked for, could not be used."""

    status: ClassVar[int] = 500
    public: ClassVar[str] = "Something went wrong here."


class BadRequest(FederationError):
    """A request or document is malformed."""

    status = 400
    public = "The request is malformed."


class TooSlow(BadRequest):
    """A body takes longer than we wait for it."""

    status = 408
    public = "The request took too long."


class TooLarge(BadRequest):
    """A body, document or header passes its size limit."""

    status = 413
    public = "The request is too large."


class BadHandle(BadRequest):
    """A handle is not of the form `name@host`, or does not name what it should."""

    public = "The handle is not known here."


class BadActor(BadRequest):
    """An actor document cannot be trusted as it stands."""

    public = "The actor document is not acceptable."


class BadPage(BadRequest):
    """A page of attestations breaks a rule of the wire format."""

    public = "The page is not acceptable."


class WrongContentType(FederationError):
    """A body comes as something else than ActivityPub JSON."""

    status = 415
    public = "Send application/activity+json."


class BadSignature(FederationError):
    """An HTTP signature is missing, incomplete, stale or wrong."""

    status = 401
    public = "The HTTP signature is missing or not valid."


class UnknownSender(BadSignature):
    """Nobody here has to do with the sender; a stranger sees what a bad signature gets.

    Were the two told apart, anybody could ask whom we follow and who follows us.
    """


class BadProof(FederationError):
    """An integrity proof is missing or does not verify."""

    status = 401
    public = "The integrity proof is not valid."


class WrongOrigin(FederationError):
    """Things that must share one origin do not."""

    status = 401
    public = "The parts of the request do not share one origin."


class BlockedDomain(FederationError):
    """The admin has blocked the peer's domain."""

    status = 403
    public = "This instance does not talk to yours."


class TooManyBlocks(FederationError):
    """The block list is longer than its limit allows; raised to the admin alone."""


class TooManyKeys(FederationError):
    """A feed has as many keys as peers read; raised to the admin alone."""


class HasEnded(FederationError):
    """This instance ended for good; raised to the admin alone."""


class BadRevocation(FederationError):
    """A key cannot be revoked from where the admin says; raised to the admin alone."""


class NotAsked(FederationError):
    """A peer sends something that nobody here asked it for."""

    status = 403
    public = "This instance does not expect that from you."


class NotFound(FederationError):
    """There is nothing at this address for whoever asked."""

    status = 404
    public = "Not found."


class Gone(FederationError):
    """What stood at this address was dropped for good; told to those who may read it only."""

    status = 410
    public = "Gone."


class TooManyRequests(FederationError):
    """A peer asks more often than its limit allows."""

    status = 429
    public = "Too many requests."
    retry_seconds: ClassVar[int] = 600


class TooManyQuestions(TooManyRequests):
    """A follower asks for more single attestations a minute than its limit allows."""

    retry_seconds = 60


class TooManyDisputes(TooManyRequests):
    """A peer disputes more attestations a day than its limit allows, or too many wait."""

    retry_seconds = 3_600


class PastQuota(TooManyRequests):
    """A peer, or all strangers together, send more a minute than their quota allows."""

    retry_seconds = 60


class TooBusy(TooManyRequests):
    """As many bodies are on their way in as may be at once."""

    retry_seconds = 5


class FetchFailed(FederationError):
    """A peer could not be asked: no connection, a timeout, or an answer that is no use.

    Whoever sends something sees a key that cannot be had, which others try again (401).
    """

    status = 401
    public = "The sender's actor could not be fetched."


class BlockedAddress(FederationError):
    """A host resolves to an address that must not be asked (private, loopback, reserved).

    A stranger sees what it sees of a host that does not answer: else it could ask for our names.
    """

    status = FetchFailed.status
    public = FetchFailed.public
