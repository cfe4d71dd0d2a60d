"""Who sent a request: what acting code takes, and what only verifying makes."""

from dataclasses import dataclass
from enum import StrEnum

from federation.actors.remote_actor import RemoteActor


class Scheme(StrEnum):
    """The kinds of HTTP signatures."""

    CAVAGE = "cavage"  # draft-cavage-http-signatures-12
    RFC9421 = "rfc9421"
    PROOF = "proof"  # none: the activity carries an integrity proof (FEP-8b32)


@dataclass(frozen=True, slots=True)
class VerifiedSender:
    """An actor that signed a request, body included; `signed` is when, in epoch seconds."""

    actor: RemoteActor
    key_id: str
    scheme: Scheme
    signed: int
