"""Compares peers with this instance, counts how they fared, and lowers weights that were abused.

    observed --an admin raises a weight--> trusted --false cleans, false flags--> that weight is 0

Each picture counts once a peer and claim (clean or flagged), whatever the peer weighs; what was
counted changes only when a person here finds something. All of it happens in the transaction of
the caller, and doing it twice changes nothing. Whether a peer agreed is decided by `agreement`,
which rows may be compared by `comparable`; raising trust is left to the admin.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection, select

from cache.judgement import Judgement
from cache.storage.rows import batches, upsert
from cache.storage.tables import issuers
from cache.storage.trust_tables import agreements, comparisons
from cache.trust.agreement import Compared, Result, compare_clean, compare_flags
from cache.trust.comparable import Picture, comparable
from cache.trust.notices import tell
from cache.trust.track_record import Counts, Fall, TrackRecord
from cache.trust.trust import end_weight, load_trust, without_weight
from cache.verdict import Feed

FALSE_CLEAN = "false-clean"
"""The kind of notice of a picture that a peer called clean wrongly."""

DEMOTED = "demoted"
"""The kind of notice of a weight that fell to 0."""

_CLAIMS = ((Feed.CLEAN, compare_clean), (Feed.FLAGGED, compare_flags))
_RESULT = ("result", "labels", "counted", "by_person")
_COUNTS = tuple(asdict(Counts()))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What a peer's claim about one picture came to."""

    feed: Feed
    picture: Picture
    compared: Compared


@dataclass(slots=True)
class _Outcome:
    """What counting one peer's comparisons led to."""

    false_cleans: list[_Comparison] = field(default_factory=list)
    fall: Fall | None = None


def compare(
    connection: Connection, image_ids: Iterable[int], judgement: Judgement, *, now: int
) -> None:
    """Compare what peers said of these pictures with what we hold of them now.

    To be called after a scan of ours, after a person's finding, and when a peer's row came.
    """
    by_issuer: dict[int, list[_Comparison]] = {}
    for picture in comparable(connection, list(image_ids), judgement, now=now):
        for issuer_id, rows in picture.rows.items():
            for feed, claim in _CLAIMS:
                compared = claim(rows, picture.ours, judgement)
                if compared is not None:
                    found = _Comparison(feed, picture, compared)
                    by_issuer.setdefault(issuer_id, []).append(found)
    for issuer_id, found_all in sorted(by_issuer.items()):
        _count(connection, issuer_id, found_all, now)


def load_record(connection: Connection, issuer_id: int) -> TrackRecord:
    """Return how a peer fared so far."""
    rows = connection.execute(select(agreements).where(agreements.c.issuer_id == issuer_id))
    return TrackRecord(
        {row.label: Counts(*(getattr(row, name) for name in _COUNTS)) for row in rows}
    )


def forget_record(connection: Connection, issuer_id: int) -> None:
    """Let a peer's record begin anew: it is audited like a new one, its pictures count again."""
    for table in (agreements, comparisons):
        connection.execute(table.delete().where(table.c.issuer_id == issuer_id))


def _count(connection: Connection, issuer_id: int, found: Sequence[_Comparison], now: int) -> None:
    record, outcome = load_record(connection, issuer_id), _Outcome()
    rows = []
    before = _compared_before(connection, issuer_id, found)
    for one in found:
        earlier = before.get((one.feed, one.picture.key))
        if earlier is not None and not _turns(one.compared, earlier):
            continue
        before[one.feed, one.picture.key] = one.compared
        rows.append(_row(issuer_id, one, now))
        fall = record.count(one.feed, one.compared, earlier)
        outcome.fall = outcome.fall or fall
        if one.compared.result is Result.FALSE_CLEAN:
            outcome.false_cleans.append(one)
    if not rows:
        return
    dialect = connection.dialect.name
    key = ("issuer_id", "feed", "picture")
    connection.execute(upsert(dialect, comparisons, key, (*_RESULT, "compared")), rows)
    _store_record(connection, issuer_id, record)
    _act(connection, issuer_id, record, outcome, now)


def _turns(new: Compared, before: Compared) -> bool:
    """Tell whether a person's finding makes of a picture what it was not counted as."""
    return new.by_person and new != before


def _compared_before(
    connection: Connection, issuer_id: int, found: Sequence[_Comparison]
) -> dict[tuple[Feed, bytes], Compared]:
    before: dict[tuple[Feed, bytes], Compared] = {}
    for some in batches(sorted({one.picture.key for one in found})):
        rows = select(comparisons).where(
            comparisons.c.issuer_id == issuer_id, comparisons.c.picture.in_(some)
        )
        for row in connection.execute(rows):
            before[Feed(row.feed), row.picture] = Compared(
                Result(row.result),
                frozenset(row.counted.split()),
                frozenset(row.labels.split()),
                row.by_person,
            )
    return before


def _row(issuer_id: int, one: _Comparison, now: int) -> dict[str, object]:
    return {
        "issuer_id": issuer_id,
        "feed": int(one.feed),
        "picture": one.picture.key,
        "sha256": min(one.picture.files.values()),
        "result": one.compared.result.value,
        "labels": " ".join(sorted(one.compared.differ)),
        "counted": " ".join(sorted(one.compared.counted)),
        "by_person": one.compared.by_person,
        "compared": now,
    }


def _store_record(connection: Connection, issuer_id: int, record: TrackRecord) -> None:
    statement = upsert(connection.dialect.name, agreements, ("issuer_id", "label"), _COUNTS)
    rows = [
        {"issuer_id": issuer_id, "label": label, **asdict(counts)}
        for label, counts in sorted(record.labels.items())
    ]
    connection.execute(statement, rows)


def _act(
    connection: Connection, issuer_id: int, record: TrackRecord, outcome: _Outcome, now: int
) -> None:
    """Tell the admin of false cleans, and end the weights that were abused."""
    peer = connection.execute(
        select(issuers.c.origin, issuers.c.min_agreement).where(issuers.c.id == issuer_id)
    ).one()
    first = record.any.clean_false == len(outcome.false_cleans)
    if outcome.false_cleans and (first or _weighs(connection, peer.origin)):
        tell(connection, FALSE_CLEAN, _told(peer.origin, outcome), issuer_id, now=now)
    if outcome.fall and end_weight(connection, peer.origin, clean=True):
        text = f"{peer.origin}: clean_weight is 0 now: {outcome.fall}"
        tell(connection, DEMOTED, text, issuer_id, now=now)
    if record.flags_fail(peer.min_agreement / 100) and end_weight(
        connection, peer.origin, flag=True
    ):
        counts = record.any
        text = (
            f"{peer.origin}: flag_weight is 0 now: of {counts.flag_compared} flags that could be "
            f"compared we agree with {counts.flag_agreed}, too few for min_agreement = "
            f"{peer.min_agreement / 100:g}"
        )
        tell(connection, DEMOTED, text, issuer_id, now=now)


def _weighs(connection: Connection, origin: str) -> bool:
    """Tell whether there is any weight to end; of a peer without one is told once."""
    trust = load_trust(connection)[origin]
    return without_weight(trust, clean=True) != trust


def _told(origin: str, outcome: _Outcome) -> str:
    first, number = outcome.false_cleans[0], len(outcome.false_cleans)
    labels = ", ".join(sorted(first.compared.differ)) or "a rule"
    who = "a person here upheld" if first.compared.by_person else "our scan found"
    more = f", and {number - 1} more" if number > 1 else ""
    return (
        f"{origin} called clean what {who} to be {labels}: sha256 "
        f"{min(first.picture.files.values()).hex()}{more}; its clean hits are audited anew"
    )
