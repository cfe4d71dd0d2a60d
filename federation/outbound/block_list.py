"""The block list in the database: added, removed, listed, taken from and written to a file.

Decides what a list in a file means: Mastodon's CSV (`#domain,#severity,...`; others write it
without the marks, in another order, or in quotes) or one domain a line, where `#` begins a comment.
Of a CSV only `suspend` blocks, unless `silence` is asked for as well: a block here is a whole one,
and what it ends does not come back. So a CSV that does not name both columns is refused, and so is
a file of which no line names a domain. What a list hides (`exa***e.com`) and what is no domain is
counted and left. The list is bounded.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select

from cache.storage.peer_tables import blocked_domains
from cache.storage.rows import batches, insert_into
from federation.errors import BadRequest, TooManyBlocks
from federation.outbound.domain import parse_domain

MAX_REASON_CHARACTERS = 500
"""Of a reason; a longer one in a file is cut."""

MAX_LIST_BYTES = 16_777_216
"""Of a file that is imported; the largest lists in use have some hundred KiB."""

CSV_HEAD = ("#domain", "#severity", "#reject_media", "#reject_reports", "#public_comment")
_BLOCKING = ("suspend",)
_SILENCING = ("silence", "limit")


@dataclass(frozen=True, slots=True)
class Block:
    """A blocked domain; `source` names the list it came from, "" for a command."""

    domain: str
    reason: str = ""
    source: str = ""
    added: int = 0


@dataclass(slots=True)
class ParsedList:
    """What a file says: blocks by domain, and how many of its lines were left, by cause."""

    blocks: dict[str, Block] = field(default_factory=dict)
    milder: int = 0  # of a severity that does not block here
    repeated: int = 0
    unreadable: list[str] = field(default_factory=list)  # no domain, or hidden by asterisks


def parse_list(text: str, source: str, *, silence_too: bool = False) -> ParsedList:
    """Read a block list in either form; raises `BadRequest` for what is neither."""
    lines = text.removeprefix("\ufeff").splitlines()
    head = _head(lines)
    found = ParsedList()
    if len(head) > 1:
        missing = [name for name in ("domain", "severity") if name not in head]
        if missing:
            message = f"the CSV has no column {missing[0]}; what it blocks cannot be told"
            raise BadRequest(message)
        severities = (*_BLOCKING, *(_SILENCING if silence_too else ()))
        _read_csv(lines[1:], head, severities, source, found)
    else:
        for line in lines:
            _take(found, line.partition("#")[0], "", source)
    if found.unreadable and not (found.blocks or found.milder):
        raise BadRequest(f"no line of it names a domain; it begins with {found.unreadable[0]!r}")
    return found


def add_blocks(conn: Connection, blocks: Sequence[Block], now: int, limit: int) -> int:
    """Block domains and return how many were not blocked before; past `limit` none is added.

    Raises `TooManyBlocks`. A domain that is blocked already takes a reason that it had not.
    """
    before = _count(conn)
    for some in batches(blocks):
        rows = [
            {
                "domain": one.domain,
                "reason": one.reason[:MAX_REASON_CHARACTERS],
                "source": one.source[:MAX_REASON_CHARACTERS],
                "added": now,
            }
            for one in some
        ]
        insert = insert_into(conn, blocked_domains)
        kept = insert.on_conflict_do_update(
            index_elements=["domain"],
            set_={"reason": insert.excluded.reason},
            where=blocked_domains.c.reason == "",
        )
        conn.execute(kept, rows)
    if _count(conn) > limit:
        message = f"the block list holds at most {limit} domains (federation.block_rows)"
        raise TooManyBlocks(message)
    return _count(conn) - before


def remove_block(conn: Connection, domain: str) -> bool:
    """Take a domain off the list; tells whether it was there."""
    return bool(
        conn.execute(delete(blocked_domains).where(blocked_domains.c.domain == domain)).rowcount
    )


def list_blocks(conn: Connection) -> list[Block]:
    """Return the list in the database, by domain."""
    c = blocked_domains.c
    rows = conn.execute(select(c.domain, c.reason, c.source, c.added).order_by(c.domain))
    return [Block(*row) for row in rows]


def known_among(conn: Connection, domains: Sequence[str]) -> set[str]:
    """Return those of the domains that are on the list."""
    found: set[str] = set()
    c = blocked_domains.c.domain
    for some in batches(domains):
        found |= set(conn.execute(select(c).where(c.in_(some))).scalars())
    return found


def to_csv(blocks: Iterable[Block]) -> str:
    """Return the list as Mastodon imports it."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    writer.writerows((one.domain, "suspend", "True", "True", one.reason) for one in blocks)
    return target.getvalue()


def _count(conn: Connection) -> int:
    return conn.scalar(select(func.count()).select_from(blocked_domains)) or 0


def _head(lines: Sequence[str]) -> list[str]:
    """Return the names of the columns; of a list without columns at most one, which says nothing.

    A comment may hold commas, so of a first line that begins with `#` only one that names a
    domain's column is a head.
    """
    cells = [cell.strip() for cell in next(_rows(lines[:1]), [])]
    names = [cell.lstrip("#").strip().lower() for cell in cells]
    is_comment = bool(cells) and cells[0].startswith("#") and "domain" not in names
    return [] if is_comment else names


def _read_csv(
    lines: Iterable[str],
    head: Sequence[str],
    severities: Sequence[str],
    source: str,
    found: ParsedList,
) -> None:
    for cells in _rows(lines):
        row = dict(zip(head, (cell.strip() for cell in cells), strict=False))
        if not row.get("domain"):
            continue
        if row.get("severity", "").lower() not in severities:
            found.milder += 1
            continue
        _take(found, row["domain"], row.get("public_comment", ""), source)


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(line + "\n" for line in lines)
    except csv.Error as error:
        raise BadRequest(f"the CSV cannot be read: {error}") from error


def _take(found: ParsedList, text: str, reason: str, source: str) -> None:
    name = text.strip()
    if not name:
        return
    try:
        domain = parse_domain(name.removeprefix("*."))
    except BadRequest:
        found.unreadable.append(name)
        return
    if domain in found.blocks:
        found.repeated += 1
    else:
        found.blocks[domain] = Block(domain, reason, source)
