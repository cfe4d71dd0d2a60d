"""Acts on the findings of a run, without scanning: deletes objects, or strips what is inside them.

Decides which finding may be acted on now. Never one whose object changed: the source refuses it,
and it must still be the very object whose judgement is remembered. Never one whose decision is no
longer among those asked for: it is asked again from the cache just before, so that what a person
dismissed meanwhile stays. What could not be judged must have failed under the limits in force.
`acting` is written before a batch is touched, what became of it after; cut short, the batch can
be taken on again. Whether acting is allowed at all, and asking the admin, are left to others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection

from cache.memory.runs import (
    Finding,
    ItemState,
    Run,
    count_findings,
    findings_page,
    mark_findings,
)
from cache.memory.sightings import Sighting, forget_sighting, unchanged
from cache.verdict import Decision
from fediverdict.config import ScanSettings
from fediverdict.judge import Judge
from fediverdict.seen import COULD_NOT, terms_of
from scanner.errors import (
    ScannerError,
    SourceChanged,
    SourceUnreachable,
)
from scanner.sources.source import Item, Source

OPEN = (ItemState.FOUND, ItemState.ACTING, ItemState.FAILED)
"""Findings that may be acted on: those of an action that was cut short or failed as well."""
NO_ANSWER = "no answer: "
"""How the note begins of what failed so that it may have been carried out all the same."""


class Action(StrEnum):
    """What is done to an object."""

    DELETE = "delete"
    STRIP = "strip"  # written anew without what does not belong to the picture


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to which findings of a run."""

    run: Run
    action: Action
    decisions: tuple[Decision, ...]

    def counts(self, connection: Connection) -> dict[str, int]:
        """Return decision -> number of findings that would be acted on."""
        wanted = {str(decision) for decision in self.decisions}
        only_inside = self.action is Action.STRIP
        found = count_findings(connection, self.run.id, OPEN, only_inside=only_inside)
        return {decision: count for decision, count in found.items() if decision in wanted}

    def page(self, connection: Connection, after: int) -> list[Finding]:
        """Return the next findings to be acted on, behind row `after`."""
        return findings_page(
            connection,
            self.run.id,
            after,
            decisions=self.decisions,
            states=OPEN,
            only_inside=self.action is Action.STRIP,
        )


Rewrite = Callable[[Item, bytes], Awaitable[bool]]
"""Writes an object anew without what does not belong to it; tells whether there was anything."""

Tell = Callable[[Finding], None]


class Acting:
    """Carries out one plan."""

    def __init__(
        self,
        judge: Judge,
        source: Source,
        plan: Plan,
        settings: ScanSettings,
        tell: Tell,
        rewrite: Rewrite | None = None,
    ) -> None:
        self._judge, self._source, self._plan = judge, source, plan
        self._batch, self._patience = settings.act_batch, settings.unreachable_in_a_row
        self._unanswered = 0  # objects in a row
        self._tell, self._rewrite = tell, rewrite
        self._terms = terms_of(judge.limits)

    async def run(self, stop: asyncio.Event) -> None:
        """Act on every finding, until `stop` is set; raises SourceUnreachable after too many
        objects in a row that got no answer."""
        after = 0
        while page := await self._judge.store.read(self._plan.page, after):
            for start in range(0, len(page), self._batch):
                if stop.is_set():
                    return
                await self._act(page[start : start + self._batch], stop)
            after = page[-1].id

    async def _act(self, batch: Sequence[Finding], stop: asyncio.Event) -> None:
        begun = {finding.id: replace(finding, state=ItemState.ACTING) for finding in batch}
        await self._write(list(begun.values()))
        became = {finding.id: finding for finding in batch}  # what is not reached stays as it was
        try:
            for finding in batch:
                if stop.is_set():
                    break
                became[finding.id] = begun[finding.id]  # cut short now, it may be gone already
                became[finding.id] = await self._one(finding)
        finally:
            await self._write(list(became.values()))
        for finding in became.values():
            if finding.state not in OPEN or finding.note:
                self._tell(finding)

    async def _one(self, finding: Finding) -> Finding:
        """Act on one finding and return what became of it."""
        if why := await self._why_not(finding):
            return _became(finding, ItemState.SKIPPED, why)
        item = Item(finding.key, finding.size, finding.mark)
        try:
            became = await self._do(finding, item)
        except SourceUnreachable as error:
            self._unanswered += 1
            if self._unanswered > self._patience:
                raise
            return _became(finding, ItemState.FAILED, f"{NO_ANSWER}{error}")
        except SourceChanged as error:
            return await self._changed(finding, item, str(error))
        except ScannerError as error:
            return _became(finding, ItemState.FAILED, str(error))
        self._unanswered = 0
        return became

    async def _do(self, finding: Finding, item: Item) -> Finding:
        if self._plan.action is Action.DELETE:
            await self._source.delete(item)
            return _became(finding, ItemState.ACTED)
        data = await self._source.read(item, max(item.size, 1))
        if self._rewrite is not None and await self._rewrite(item, data):
            return _became(finding, ItemState.ACTED)
        return _became(finding, ItemState.SKIPPED, "there is nothing to strip")

    async def _why_not(self, finding: Finding) -> str | None:
        """Return why a finding must not be acted on now, None if it may be."""
        sighting = await self._judge.store.read(
            unchanged,
            source_id=self._plan.run.source_id,
            key=finding.key,
            size=finding.size,
            mark=finding.mark,
        )
        if sighting is None or sighting.sha256 != finding.sha256:
            return "another object was met there since; scan again"
        if finding.decision in COULD_NOT:
            return self._judgeable_now(finding, sighting)
        look = await self._judge.look_again(finding.sha256) if finding.sha256 else None
        if look is None:
            return "nothing is known of it any more; scan again"
        if look.outcome.decision not in self._plan.decisions:
            return f"it is {look.outcome.decision} by now"
        return None

    def _judgeable_now(self, finding: Finding, sighting: Sighting) -> str | None:
        if sighting.outcome == finding.decision and sighting.terms == self._terms:
            return None
        return "the limits or decoders have changed since; scan again"

    async def _changed(self, finding: Finding, item: Item, why: str) -> Finding:
        """Tell an object that we deleted, without having heard of it, from one that changed."""
        if self._plan.action is Action.DELETE and _may_be_deleted(finding):
            async for other in self._source.list(None, item.key):
                if other.key == item.key:
                    return _became(finding, ItemState.SKIPPED, why)
            return _became(finding, ItemState.ACTED, "it was deleted before")
        return _became(finding, ItemState.SKIPPED, why)

    async def _write(self, findings: Sequence[Finding]) -> None:
        await self._judge.store.write(self._store, findings)

    def _store(self, connection: Connection, findings: Sequence[Finding]) -> None:
        action, now = self._plan.action, int(time.time())
        mark_findings(connection, _marks(findings), action=action, now=now)
        for finding in findings:
            if finding.state is ItemState.ACTED:
                forget_sighting(connection, source_id=self._plan.run.source_id, key=finding.key)


def _became(finding: Finding, state: ItemState, note: str | None = None) -> Finding:
    return replace(finding, state=state, note=note)


def _may_be_deleted(finding: Finding) -> bool:
    """Tell whether an earlier call may have deleted it: it was cut short, or got no answer."""
    no_answer = finding.state is ItemState.FAILED and (finding.note or "").startswith(NO_ANSWER)
    return finding.action == Action.DELETE and (finding.state is ItemState.ACTING or no_answer)


def _marks(findings: Sequence[Finding]) -> Iterator[tuple[int, ItemState, str | None]]:
    return ((finding.id, finding.state, finding.note) for finding in findings)
