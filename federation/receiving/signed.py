"""An inbound activity whose sender has been verified: the only type that receiving acts on."""

from dataclasses import dataclass

from federation.actors.remote_actor import RemoteActor
from federation.errors import BadSignature
from federation.signing.identity import VerifiedSender
from federation.wire.activity import Activity


@dataclass(frozen=True, slots=True)
class SignedActivity:
    """What an activity says, and who signed the request that it came in: its very actor."""

    activity: Activity
    sender: VerifiedSender

    def __post_init__(self) -> None:
        """Raise `BadSignature` where another than the actor signed."""
        if self.sender.actor.id != self.activity.actor:
            raise BadSignature(f"{self.sender.actor.id} signed for {self.activity.actor}")

    @property
    def actor(self) -> RemoteActor:
        """The actor that speaks."""
        return self.sender.actor
