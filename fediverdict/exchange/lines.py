"""Reads hash lists and exported verdicts, a line at a time; every fault names its line.

Formats: `pdq` (64 hex digits, as PDQ tools print them: `HASH`, `HASH,QUALITY` or
`HASH,QUALITY,NAME`), `piefed` (256 characters 0 and 1, alone or as its JSON), `csv` (a head that
names the columns) and `jsonl` (a JSON object a line, as `fediverdict export` writes them). What a
row must be is left to `rows`, what becomes of it to others.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from cache.memory.lists import Entry
from fediverdict.errors import UsageError
from fediverdict.exchange.rows import (
    BITS,
    MAX_QUALITY,
    BadRow,
    Row,
    code_of_bits,
    hash_of,
    quality_of,
    row_of,
)

Format = Literal["jsonl", "csv", "pdq", "piefed"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "pdq", "piefed")

LINE_CHARACTERS = 65_536
"""Of a line at most; a verdict over 200 labels has some 8,000."""

NAMES = frozenset({"sha256", "content", "pdq", "pdq_hash_binary"})
"""Columns by which a CSV file names pictures."""

NUMBERS = frozenset({"pdq_quality", "quality", "issued", "expires", "frames_seen", "frames_total"})
JSON_CELLS = frozenset({"scores", "pipeline", "flags"})


class BadLine(UsageError):
    """A line that cannot be read; nothing of the file was stored."""


def guess(first: str) -> Format:
    """Return the format of a file by its first line that says something."""
    text = first.strip()
    if text.startswith("{"):
        return "jsonl"
    if len(text) == BITS and set(text) <= {"0", "1"}:
        return "piefed"
    return "csv" if NAMES & {name.strip() for name in text.split(",")} else "pdq"


def read_rows(lines: Iterable[str], kind: Format) -> Iterator[Row | None]:
    """Give each row; None for one that says nothing against a picture. Raises BadLine."""
    for number, item in _csv_items(lines) if kind == "csv" else _items(lines):
        try:
            yield _parsed(item, kind)
        except KeyError as error:
            raise BadLine(f"line {number}: {error.args[0]} is missing") from error
        except (ValueError, RecursionError) as error:
            raise BadLine(f"line {number}: {error}") from error


def _items(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Give lines that say something, with their numbers."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARACTERS:
            raise BadLine(f"line {number}: it has more than {LINE_CHARACTERS} characters")
        if (text := line.strip()) and not text.startswith("#"):
            yield number, text


def _csv_items(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader((line for _, line in _items(lines)), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadLine(f"row {reader.line_num}: it has not as many cells as the head")
            yield reader.line_num, {name.strip(): text for name, text in row.items() if text}
    except csv.Error as error:
        raise BadLine(f"row {reader.line_num}: {error}") from error


def _parsed(item: Any, kind: Format) -> Row | None:
    match kind:
        case "csv":
            return row_of({name: _cell(name, text) for name, text in item.items()})
        case "pdq":
            return _pdq_line(item)
        case "piefed" if not item.startswith("{"):
            return Entry(pdq=code_of_bits(item), pdq_quality=MAX_QUALITY)
        case _:
            return row_of(_object(item))


def _cell(name: str, text: str) -> Any:
    if name in JSON_CELLS:
        return _json(text)
    if name in NUMBERS and text.isascii() and text.isdigit():
        return int(text)
    return text


def _object(text: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise BadRow("it is no JSON object")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRow("it is not JSON") from error


def _pdq_line(text: str) -> Entry:
    code, _, rest = text.partition(",")
    quality = rest.partition(",")[0].strip() or str(MAX_QUALITY)
    if not (quality.isascii() and quality.isdigit() and len(quality) <= 3):
        raise BadRow(f"{quality[:20]!r} is no quality 0..100")
    return Entry(pdq=hash_of(code.strip(), "pdq"), pdq_quality=quality_of(int(quality)))
