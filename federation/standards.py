"""The registry of what we implement of others' standards, and where.

FEDERATION.md and NodeInfo are held against it by tests, and it against the code: the kinds of
activities, the well-known addresses and the schemes of signatures.
"""

from dataclasses import dataclass
from typing import Final

_FEP: Final = "https://codeberg.org/fediverse/fep/src/branch/main/fep"
_RFC: Final = "https://www.rfc-editor.org/rfc"


@dataclass(frozen=True, slots=True)
class Standard:
    """A standard: its short name, its title, where it is read, and our modules that follow it."""

    name: str
    title: str
    url: str
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActivityUse:
    """A kind of activity: who of us sends it, and what it does here when it is received."""

    kind: str
    sent: str
    received: str


def _fep(slug: str, title: str, *where: str) -> Standard:
    return Standard(f"FEP-{slug}", title, f"{_FEP}/{slug}/fep-{slug}.md", where)


def _rfc(number: int, title: str, *where: str) -> Standard:
    return Standard(f"RFC {number}", title, f"{_RFC}/rfc{number}", where)


FEPS: Final = (
    _fep("67ff", "FEDERATION.md", "federation/standards.py"),
    _fep(
        "8b32",
        "Object Integrity Proofs",
        "federation/wire/proof.py",
        "federation/wire/activity_proof.py",
    ),
    _fep(
        "521a",
        "Representing actor's public keys",
        "federation/actors/actor.py",
        "federation/actors/remote_actor.py",
    ),
    _fep("2677", "Identifying the Application Actor", "federation/actors/nodeinfo.py"),
    _fep("d556", "Server-Level Actor Discovery Using WebFinger", "federation/actors/webfinger.py"),
)
"""FEP: Fediverse Enhancement Proposal."""

PROTOCOLS: Final = (
    Standard(
        "ActivityPub",
        "server to server",
        "https://www.w3.org/TR/activitypub/",
        ("federation/wire/activity.py", "federation/wire/composing.py"),
    ),
    Standard(
        "draft-cavage-12",
        "Signing HTTP Messages",
        "https://datatracker.ietf.org/doc/html/draft-cavage-http-signatures-12",
        ("federation/signing/cavage.py",),
    ),
    _rfc(9421, "HTTP Message Signatures", "federation/signing/message_signatures.py"),
    _rfc(9530, "Digest Fields", "federation/signing/digest.py"),
    Standard(
        "vc-di-eddsa",
        "Data Integrity EdDSA Cryptosuites",
        "https://www.w3.org/TR/vc-di-eddsa/",
        ("federation/wire/proof.py",),
    ),
    _rfc(8785, "JSON Canonicalization Scheme", "federation/wire/strictjson.py"),
    _rfc(7033, "WebFinger", "federation/actors/webfinger.py"),
    _rfc(6415, "Web Host Metadata", "federation/actors/hostmeta.py"),
    Standard(
        "NodeInfo 2.1",
        "what software a server runs",
        "https://nodeinfo.diaspora.software/",
        ("federation/actors/nodeinfo.py",),
    ),
    _rfc(9457, "Problem Details for HTTP APIs", "federation/routes.py"),
)

WELL_KNOWN: Final = {
    "/.well-known/webfinger": "our actors by handle, by id, and of the bare origin",
    "/.well-known/host-meta": "the template of WebFinger, as XML, or as JSON where that is asked",
    "/.well-known/host-meta.json": "the same as JSON",
    "/.well-known/nodeinfo": "where NodeInfo and the instance actor stand",
    "/nodeinfo/2.1": "NodeInfo",
}
"""The addresses that servers know beforehand, and what stands there; all of them are public."""

SCHEMES: Final = {
    "cavage": "draft-cavage-12, RSA with SHA-256: sent first",
    "rfc9421": "RFC 9421, `rsa-v1_5-sha256`: sent to those who do not take the first",
    "proof": "no HTTP signature, but a FEP-8b32 proof of the activity: received, never sent",
}
"""How it is told who sends an activity."""

HTTP_SCHEMES: Final = ("cavage", "rfc9421")
"""Those of them that are HTTP signatures."""

ACTIVITIES: Final = (
    ActivityUse(
        "Follow",
        "the instance, to a peer's feed",
        "for one of the two feeds; it waits for the admin",
    ),
    ActivityUse(
        "Accept",
        "a feed, to its follower",
        "from the very actor that was asked, for the very Follow",
    ),
    ActivityUse("Reject", "a feed, to its follower", "as `Accept`"),
    ActivityUse("Undo", "the instance, of a `Follow`", "of a `Follow`, by the actor that follows"),
    ActivityUse(
        "Create",
        "a feed, to its approved followers: an `AttestationPage`, or a stub of it",
        "from a feed that accepted our Follow",
    ),
    ActivityUse(
        "Announce",
        "the instance, hourly to peers that follow us and are followed: `FeedHead`s",
        "the same, from such peers alone",
    ),
    ActivityUse(
        "Update",
        "an actor whose document changed, to whoever keeps a copy",
        "of itself, by an actor that we have to do with: its document is fetched anew",
    ),
    ActivityUse(
        "Delete",
        "our actors, when the instance ends for good (`fediverdict retire`)",
        "of itself, by an actor that we have to do with: believed once its id answers 404 or 410",
    ),
    ActivityUse(
        "Flag",
        "the instance, to the feed whose attestation it disputes",
        "of attestations of ours, from approved followers alone: a person looks",
    ),
)
