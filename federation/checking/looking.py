"""The edge of the doctor: asks once and returns what came, or why nothing did.

All of it goes through `client.py`, so a doctor may ask no more than federation itself may.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from federation.client import Asked, Client, Seen
from federation.errors import FederationError
from federation.origin import Url
from federation.outbound.media import ACTIVITY, Kind
from federation.settings import FederationSettings
from federation.signing.identity import Scheme


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came, or nothing that can be read; the error says why."""

    url: Url
    error: FederationError


Look: TypeAlias = Seen | NoAnswer


def is_there(look: Look) -> bool:
    """Tell whether what was asked for came."""
    return isinstance(look, Seen) and look.status == 200


@dataclass(frozen=True, slots=True)
class Looker:
    """Asks for one doctor; `as_actor` signs where a signature is wanted."""

    client: Client
    settings: FederationSettings
    as_actor: Url
    clock: Callable[[], int]

    async def get(self, url: Url, kind: Kind, scheme: Scheme | None = None) -> Look:
        """Fetch a document, signed in a scheme if one is given."""
        actor = None if scheme is None else self.as_actor
        asked = Asked("GET", url, {"Accept": kind.value}, actor)
        return await self._look(asked, scheme, self.settings.document_bytes)

    async def page(self, url: Url, scheme: Scheme) -> Look:
        """Fetch a page, signed."""
        asked = Asked("GET", url, {"Accept": Kind.ACTIVITY.value}, self.as_actor)
        return await self._look(asked, scheme, self.settings.page_bytes)

    async def post_unsigned(self, url: Url, body: bytes) -> Look:
        """Send an activity without any signature, which nobody may take."""
        asked = Asked("POST", url, {"Content-Type": ACTIVITY}, None, body)
        return await self._look(asked, None, self.settings.document_bytes)

    async def _look(self, asked: Asked, scheme: Scheme | None, max_bytes: int) -> Look:
        try:
            return await self.client.look(asked, max_bytes, scheme or Scheme.CAVAGE)
        except FederationError as error:
            return NoAnswer(asked.url, error)
