"""Waits for what a picture's origin says of it, before this instance scans it itself.

Decides when asking could change anything, and how long a picture waits: an answer is waited for as
`reuse.ask_seconds` says; a background source also waits `reuse.grace_seconds` for the page that
holds the picture, looking again every few seconds and asking once more at the end. Whom an origin
is, and what of its answer is believed, is left to `federation.reading.asking`; the judge knows it
as an `Asker`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from cache.outcome import Reason
from cache.settings import ReuseSettings
from cache.verdict import Decision, MatchKind
from federation.origin import Origin
from federation.reading.asking import Asking
from fediverdict.look import Look

LOOK_SECONDS = 3.0
"""How often a picture that waits for a page is looked up again."""

OPEN_TO_MORE = (Reason.NO_EVIDENCE, Reason.SUSPECTED)
"""Reasons for `unknown` that one more verdict may settle; the others ask for a scan."""


class Asker(Protocol):
    """Asks the origin of a picture what it says of it; knows whom we follow."""

    async def follows(self, origin: str) -> bool:
        """Tell whether the origin is a peer that may be asked."""

    async def ask(self, origin: str, sha256: bytes) -> bool:
        """Ask it once; tell whether a verdict came that was not here before."""


class OriginAsker:
    """An Asker over federation."""

    def __init__(self, asking: Asking, settings: ReuseSettings) -> None:
        self._asking, self._settings = asking, settings

    async def follows(self, origin: str) -> bool:
        """Tell whether the origin is a peer that may be asked, and asking is switched on."""
        return self._settings.ask_origin and await self._asking.follows(Origin(origin))

    async def ask(self, origin: str, sha256: bytes) -> bool:
        """Ask within `reuse.ask_seconds`."""
        seconds = self._settings.ask_seconds
        return await self._asking.ask(Origin(origin), sha256, seconds)


class Patience:
    """Asks and waits for one picture at a time; `again` looks a known picture up."""

    def __init__(
        self,
        asker: Asker,
        grace_seconds: float,
        again: Callable[[bytes], Awaitable[Look | None]],
    ) -> None:
        self._asker, self._grace_seconds, self._again = asker, grace_seconds, again
        self._stopping = asyncio.Event()

    async def follows(self, origin: str) -> bool:
        """Tell whether the origin is a peer that may be asked."""
        return await self._asker.follows(origin)

    async def wait(self, look: Look, origin: str, *, background: bool) -> None:
        """Return when more is known of the picture, or it has waited long enough."""
        sha256 = look.fingerprint.sha256
        if not could_help(look, origin):
            return
        if not await self._still_open(sha256, origin, ask=True) or not background:
            return
        ends = asyncio.get_running_loop().time() + self._grace_seconds
        while (
            not self._stopping.is_set() and (left := ends - asyncio.get_running_loop().time()) > 0
        ):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), min(LOOK_SECONDS, left))
            if not await self._still_open(sha256, origin, ask=False):
                return
        if not self._stopping.is_set():
            await self._asker.ask(origin, sha256)

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self._stopping.set()

    async def _still_open(self, sha256: bytes, origin: str, *, ask: bool) -> bool:
        """Tell whether more could come of waiting, after asking if that is wanted."""
        if ask and not await self._asker.ask(origin, sha256):
            return True
        look = await self._again(sha256)
        return look is None or could_help(look, origin)


def could_help(look: Look, origin: str) -> bool:
    """Tell whether a verdict of the origin could change what is decided of the picture."""
    if look.outcome.decision is not Decision.UNKNOWN or look.outcome.reason not in OPEN_TO_MORE:
        return False
    return not any(
        match.kind is MatchKind.EXACT and match.verdict.issuer == origin
        for match in look.evidence.matches
    )
