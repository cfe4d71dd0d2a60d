"""Remembers passes over a source, how far each got, and what it found.

A run is `running`, then `done` or `stopped`; one that was stopped or killed goes on behind its
cursor, up to which everything listed is recorded. Its findings are rows that can be acted on
later: found -> acting -> acted | failed | skipped. `acting` is written before an object is
touched, so that whoever was killed in between is seen, and may be repeated. What is a finding,
and what may be done to it, is left to others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, func, select, update

from cache.errors import UnknownRun
from cache.storage.rows import insert_into
from cache.storage.tables import run_items, runs, sources
from cache.verdict import Decision

PAGE_ROWS = 500
"""Findings read at once; a run may have any number."""


class RunKind(StrEnum):
    """What made a run."""

    SCAN = "scan"
    WATCH = "watch"


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"  # or killed
    STOPPED = "stopped"  # goes on behind its cursor
    DONE = "done"


class ItemState(StrEnum):
    """What became of a finding."""

    FOUND = "found"
    ACTING = "acting"  # an action was begun; if nobody is at work, it was cut short
    ACTED = "acted"
    FAILED = "failed"
    SKIPPED = "skipped"  # it is no longer what was found


@dataclass(frozen=True, slots=True)
class Run:
    """A pass over a source."""

    id: int
    source_id: int
    source: str  # the source's name
    location: str  # where it was when the run began
    kind: RunKind
    options: Mapping[str, str]
    reads_all: bool
    state: RunState
    cursor: str | None
    seen: int
    scanned: int
    started: int
    changed: int


@dataclass(frozen=True, slots=True)
class Finding:
    """An object that a run found something about."""

    key: str
    size: int
    mark: str
    sha256: bytes | None
    decision: Decision
    reason: str
    rules: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    state: ItemState = ItemState.FOUND
    action: str | None = None
    note: str | None = None
    acted: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a run got with one write."""

    cursor: str | None  # None leaves it where it is
    seen: int
    scanned: int


def begin_run(
    connection: Connection,
    source_id: int,
    kind: RunKind,
    options: Mapping[str, str],
    *,
    reads_all: bool,
    now: int,
) -> Run:
    """Start a run at the beginning of its source."""
    added = connection.execute(
        runs.insert().values(
            source_id=source_id,
            location=_location(source_id),
            kind=kind,
            options=_options_text(options),
            reads_all=reads_all,
            state=RunState.RUNNING,
            seen=0,
            scanned=0,
            started=now,
            changed=now,
        )
    )
    return load_run(connection, int((added.inserted_primary_key or (0,))[0]))


def resume_run(
    connection: Connection, source_id: int, kind: RunKind, options: Mapping[str, str], *, now: int
) -> Run | None:
    """Return the newest run of this source and kind, running again; None if it was finished.

    A run begun with other options, or where the source is no longer, is not gone on with.
    """
    here = runs.c.location == _location(source_id)
    newest = _newest(connection, source_id, kind, options, here)
    if newest is None or newest.state is RunState.DONE:
        return None
    end_run(connection, newest.id, RunState.RUNNING, now=now)
    return newest


def last_count(
    connection: Connection, source_id: int, kind: RunKind, options: Mapping[str, str]
) -> int | None:
    """Return how many objects the newest finished run of these options saw."""
    newest = _newest(connection, source_id, kind, options, runs.c.state == RunState.DONE)
    return newest.seen if newest else None


def advance_run(connection: Connection, run_id: int, made: Advance, *, now: int) -> None:
    """Note how far a run got; to be called in the transaction that records what it saw."""
    values: dict[str, object] = {
        "seen": runs.c.seen + made.seen,
        "scanned": runs.c.scanned + made.scanned,
        "changed": now,
    }
    if made.cursor is not None:
        values["cursor"] = made.cursor
    connection.execute(update(runs).where(runs.c.id == run_id).values(values))


def end_run(connection: Connection, run_id: int, state: RunState, *, now: int) -> None:
    """Let a run stand in `state`."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(state=state, changed=now))


def load_run(connection: Connection, run_id: int) -> Run:
    """Return a run by its number; raises UnknownRun."""
    found = connection.execute(_RUNS.where(runs.c.id == run_id)).one_or_none()
    if found is None:
        raise UnknownRun(f"there is no run {run_id}; `fediverdict apply` lists the runs")
    return _run(found)


def newest_runs(connection: Connection, count: int) -> list[tuple[Run, dict[str, int]]]:
    """Return the newest runs, each with the number of its findings by decision."""
    found = connection.execute(_RUNS.order_by(runs.c.id.desc()).limit(count)).all()
    return [(_run(row), count_findings(connection, row.id)) for row in found]


def record_finding(connection: Connection, run_id: int, finding: Finding) -> None:
    """Store what a run found about one object.

    Found again in the same run it may be acted on again: an object that was deleted is there once
    more.
    """
    values = {
        "size": finding.size,
        "mark": finding.mark,
        "sha256": finding.sha256,
        "decision": finding.decision,
        "reason": finding.reason,
        "rules": " ".join(finding.rules),
        "inside": " ".join(finding.inside),
        "state": ItemState.FOUND,
        "action": None,
        "note": None,
        "acted": None,
    }
    connection.execute(
        insert_into(connection, run_items)
        .values(run_id=run_id, key=finding.key, **values)
        .on_conflict_do_update(index_elements=["run_id", "key"], set_=values)
    )


def count_findings(
    connection: Connection,
    run_id: int,
    states: Sequence[ItemState] = tuple(ItemState),
    *,
    only_inside: bool = False,
) -> dict[str, int]:
    """Return decision -> number of findings of a run that stand in one of `states`."""
    counted = connection.execute(
        select(run_items.c.decision, func.count())
        .where(run_items.c.run_id == run_id, run_items.c.state.in_(states), *_inside(only_inside))
        .group_by(run_items.c.decision)
        .order_by(run_items.c.decision)
    )
    return {row[0]: row[1] for row in counted}


def findings_page(
    connection: Connection,
    run_id: int,
    after: int,
    *,
    decisions: Sequence[Decision] = tuple(Decision),
    states: Sequence[ItemState] = tuple(ItemState),
    only_inside: bool = False,
) -> list[Finding]:
    """Return the next findings of a run behind row `after`, at most PAGE_ROWS."""
    page = (
        select(run_items)
        .where(
            run_items.c.run_id == run_id,
            run_items.c.id > after,
            run_items.c.decision.in_(decisions),
            run_items.c.state.in_(states),
            *_inside(only_inside),
        )
        .order_by(run_items.c.id)
        .limit(PAGE_ROWS)
    )
    return [_finding(row) for row in connection.execute(page)]


def mark_findings(
    connection: Connection,
    marks: Iterator[tuple[int, ItemState, str | None]],
    *,
    action: str,
    now: int,
) -> None:
    """Write what became of findings: (row, state, note)."""
    for row_id, state, note in marks:
        connection.execute(
            update(run_items)
            .where(run_items.c.id == row_id)
            .values(state=state, note=note, action=action, acted=now)
        )


_RUNS = select(runs, sources.c.name.label("source")).join_from(
    runs, sources, sources.c.id == runs.c.source_id
)


def _location(source_id: int) -> ScalarSelect[str]:
    return select(sources.c.location).where(sources.c.id == source_id).scalar_subquery()


def _newest(
    connection: Connection,
    source_id: int,
    kind: RunKind,
    options: Mapping[str, str],
    *conditions: ColumnElement[bool],
) -> Run | None:
    found = connection.execute(
        _RUNS.where(
            runs.c.source_id == source_id,
            runs.c.kind == kind,
            runs.c.options == _options_text(options),
            *conditions,
        )
        .order_by(runs.c.id.desc())
        .limit(1)
    ).one_or_none()
    return _run(found) if found is not None else None


def _inside(only_inside: bool) -> list[ColumnElement[bool]]:
    return [run_items.c.inside != ""] if only_inside else []


def _options_text(options: Mapping[str, str]) -> str:
    return json.dumps(dict(options), sort_keys=True)


def _run(row: Row[tuple[object, ...]]) -> Run:
    return Run(
        id=row.id,
        source_id=row.source_id,
        source=row.source,
        location=row.location,
        kind=RunKind(row.kind),
        options=json.loads(row.options),
        reads_all=row.reads_all,
        state=RunState(row.state),
        cursor=row.cursor,
        seen=row.seen,
        scanned=row.scanned,
        started=row.started,
        changed=row.changed,
    )


def _finding(row: Row[tuple[object, ...]]) -> Finding:
    return Finding(
        key=row.key,
        size=row.size,
        mark=row.mark,
        sha256=bytes(row.sha256) if row.sha256 is not None else None,
        decision=Decision(row.decision),
        reason=row.reason,
        rules=tuple(row.rules.split()),
        inside=tuple(row.inside.split()),
        state=ItemState(row.state),
        action=row.action,
        note=row.note,
        acted=row.acted,
        id=row.id,
    )
