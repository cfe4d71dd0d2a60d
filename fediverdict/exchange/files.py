"""Writes what is exported: JSON Lines, CSV, or PDQ codes as other tools read them.

A file is made so that only its owner may read it, and stands under its name only when it is whole:
hashes of bad pictures help evading them.
"""

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cache.memory.exporting import Exported
from fediverdict.errors import UserError

COLUMNS = (
    "sha256",
    "content",
    "pdq",
    "pdq_quality",
    "issuer",
    "feed",
    "basis",
    "pipeline",
    "scores",
    "flags",
    "rule",
    "finding",
    "issued",
    "expires",
    "frames_seen",
    "frames_total",
)
STRUCTURED = frozenset({"pipeline", "scores", "flags"})
Write = Callable[[IO[str]], int]


def write_jsonl(rows: Iterable[Exported], out: IO[str]) -> int:
    """Write one JSON object a line, and return how many."""
    number = 0
    for number, row in enumerate(rows, 1):  # noqa: B007  it is returned
        out.write(json.dumps(row.values, sort_keys=True, separators=(",", ":")) + "\n")
    return number


def write_csv(rows: Iterable[Exported], out: IO[str]) -> int:
    """Write a head and a line each; pipeline, scores and flags are JSON in their cells."""
    writer, number = csv.writer(out, lineterminator="\n"), 0
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, 1):  # noqa: B007  it is returned
        writer.writerow([_cell(name, row.values.get(name)) for name in COLUMNS])
    return number


def write_codes(codes: Iterable[tuple[bytes, int]], out: IO[str], *, bits: bool) -> int:
    """Write PDQ codes: `HEX,QUALITY`, or 256 characters 0 and 1 where `bits` is set."""
    number = 0
    for number, (code, quality) in enumerate(codes, 1):  # noqa: B007  it is returned
        out.write(f"{int.from_bytes(code):0256b}\n" if bits else f"{code.hex()},{quality}\n")
    return number


@contextmanager
def opened(path: Path | None) -> Iterator[IO[str]]:
    """Give a file that takes its name at the end of the block, or the standard output."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(part, flags, 0o600), "w", encoding="utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _cell(name: str, value: object) -> object:
    if name in STRUCTURED and value is not None:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return value
