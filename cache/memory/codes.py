"""Keeps the table of codes that near matching searches: which picture of whom has one.

Decides nothing of what is flagged; it is told which codes shall stand, and numbers each change
so that every process can follow. Must run in a write transaction: the numbers rely on there
being one writer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Row, bindparam, func, select

from cache.index.near import CODE_BYTES, MIN_QUALITY
from cache.storage.rows import batches
from cache.storage.tables import codes


@dataclass(frozen=True, slots=True)
class Code:
    """What near matching compares: PDQ (32 bytes), its quality (0..100), and our own pHash."""

    pdq: bytes
    pdq_quality: int
    phash: bytes | None = None


_UPDATE = (
    codes.update()
    .where(codes.c.id == bindparam("code_id"))
    .values(
        {name: bindparam(name) for name in ("pdq", "pdq_quality", "phash", "withdrawn")}
        | {"changed": bindparam("number")}
    )
)


def code_of(pdq: bytes | None, quality: int | None, phash: bytes | None = None) -> Code | None:
    """Return a code, or None where the picture has none or is too flat to be matched."""
    if pdq is None or quality is None or quality < MIN_QUALITY or len(pdq) != CODE_BYTES:
        return None
    return Code(pdq, quality, phash)


def set_codes(connection: Connection, issuer_id: int, wanted: Mapping[int, Code | None]) -> None:
    """Make the issuer's code of each image (by id) what `wanted` says; None withdraws it."""
    held = _held(connection, issuer_id, list(wanted))
    new, changed = [], []
    for image_id, code in wanted.items():
        row = held.get(image_id)
        if row is None and code is not None:
            new.append({"image_id": image_id, "issuer_id": issuer_id, **_columns(code)})
        elif row is not None and _differs(row, code):
            changed.append(
                {"code_id": row.id, **(_withdrawn(row) if code is None else _columns(code))}
            )
    if not new and not changed:
        return
    number = connection.execute(select(func.coalesce(func.max(codes.c.changed), 0))).scalar_one()
    if new:
        connection.execute(
            codes.insert(), [{**row, "changed": number + i} for i, row in enumerate(new, 1)]
        )
    if changed:
        first = number + len(new) + 1
        connection.execute(_UPDATE, [{**row, "number": i} for i, row in enumerate(changed, first)])


def _held(
    connection: Connection, issuer_id: int, image_ids: list[int]
) -> dict[int, Row[tuple[object, ...]]]:
    held: dict[int, Row[tuple[object, ...]]] = {}
    for some in batches(image_ids):
        rows = connection.execute(
            select(codes).where(codes.c.issuer_id == issuer_id, codes.c.image_id.in_(some))
        )
        held |= {row.image_id: row for row in rows}
    return held


def _columns(code: Code) -> dict[str, object]:
    return {
        "pdq": code.pdq,
        "pdq_quality": code.pdq_quality,
        "phash": code.phash,
        "withdrawn": False,
    }


def _withdrawn(row: Row[tuple[object, ...]]) -> dict[str, object]:
    code = {"pdq": row.pdq, "pdq_quality": row.pdq_quality, "phash": row.phash}
    return {**code, "withdrawn": True}


def _differs(row: Row[tuple[object, ...]], code: Code | None) -> bool:
    if code is None:
        return not row.withdrawn
    return bool(row.withdrawn) or (row.pdq, row.pdq_quality, row.phash) != (
        code.pdq,
        code.pdq_quality,
        code.phash,
    )
