"""The columns of a page: cells by name, each column checked and decoded as a whole.

Decides form only: types, ranges, lengths and canonical base64url. Which cells belong together
in a row is decided in `page_rows`.
"""

import binascii
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from federation.errors import BadPage

MAX_COLUMNS: Final = 64
MAX_SCORE: Final = 10_000
MAX_QUALITY: Final = 100
_HASH_CHARACTERS: Final = 43  # 32 bytes in base64url without padding
_SLOT: Final = 33  # bytes that one hash and one filling character decode to
_TO_BASE64: Final = str.maketrans("-_+/", "+/!!")

Cells = Sequence[Any]


def by_name(columns: object, rows: object, needed: Sequence[str]) -> dict[str, Cells]:
    """Return the needed columns by name; unknown ones are ignored. Raises `BadPage`."""
    names = _names(columns, needed)
    if not isinstance(rows, list) or not rows:
        raise BadPage("the page has no rows")
    if set(map(type, rows)) != {list} or set(map(len, rows)) != {len(names)}:
        raise BadPage("a row has another length than the columns")
    cells = dict(zip(names, zip(*rows, strict=True), strict=True))
    return {name: cells[name] for name in needed}


def hashes(cells: Cells) -> list[bytes | None]:
    """Decode a column of 32-byte hashes or nulls, all of them in one strict base64 decode.

    A filling `A` after each hash makes 33 bytes of it, the last of which is zero exactly when
    the two spare bits are: the canonical form that is asked for.
    """
    texts = _told(cells)
    if not texts:
        return list(cells)
    if set(map(type, texts)) != {str} or set(map(len, texts)) != {_HASH_CHARACTERS}:
        raise BadPage("a hash is not 43 characters of base64url")
    data = _decode(f"{'A'.join(texts)}A")
    if any(data[_SLOT - 1 :: _SLOT]):
        raise BadPage("a hash is not in canonical base64url")
    found = [data[start : start + _SLOT - 1] for start in range(0, len(data), _SLOT)]
    if len(found) == len(cells):
        return list(found)
    following = iter(found)
    return [None if cell is None else next(following) for cell in cells]


def check_integers(cells: Cells, name: str, least: int, most: int) -> None:
    """Check that every cell is null or an integer within the range; raises `BadPage`."""
    numbers = _told(cells)
    if not numbers:
        return
    if set(map(type, numbers)) != {int} or min(numbers) < least or max(numbers) > most:
        raise BadPage(f"{name} is not an integer from {least} to {most}, or null")


def check_scores(cells: Cells, labels: int) -> None:
    """Check that every cell is null or one score a label; raises `BadPage`."""
    scores = _told(cells)
    if not scores:
        return
    if set(map(type, scores)) != {list} or set(map(len, scores)) != {labels}:
        raise BadPage("scores are not one for each label")
    check_integers(list(chain.from_iterable(scores)), "a score", 0, MAX_SCORE)


def _told(cells: Cells) -> Cells:
    """Return the cells that are not null."""
    return [cell for cell in cells if cell is not None] if None in cells else cells


def _names(columns: object, needed: Sequence[str]) -> list[str]:
    if not isinstance(columns, list) or not all(type(name) is str for name in columns):
        raise BadPage("columns is not a list of names")
    if len(columns) > MAX_COLUMNS or len(set(columns)) != len(columns):
        raise BadPage(f"a column stands there twice, or there are over {MAX_COLUMNS}")
    missing = set(needed).difference(columns)
    if missing:
        raise BadPage(f"the page lacks the columns {sorted(missing)}")
    return columns


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.translate(_TO_BASE64), strict_mode=True)
    except ValueError as error:
        raise BadPage("a hash is not base64url") from error
