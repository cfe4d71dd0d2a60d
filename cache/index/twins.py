"""Finds the pictures here that one is nearly equal to, as `decide.near_clean` allows.

Decides what a twin is: PDQ <= 10 bits and quality >= 80 on both sides, pHash <= 16 bits, the
aspect ratio within 2 %, both still pictures, and their secret sketches those of copies; how these
are compared is handed in. With `peers` as with `own`, which goes beyond the design: docs/decisions/
0012 says why. Not whether a twin makes anything clean: that is left to `decide`, and so are flags
nearby, and whose verdict on it counts. More twins than the limits are left out, which
can only cost a scan.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, select

from cache.index.near import CODE_BYTES
from cache.index.printed import PrintedIndex
from cache.judgement import NearClean
from cache.memory.lookup import StoredFingerprint
from cache.storage.prepared import Prepared
from cache.storage.tables import images
from cache.verdict import FingerprintLike

PDQ_BITS = 10
PHASH_BITS = 16
MIN_QUALITY = 80
ASPECT_PERCENT = 2
STILL = 1
"""Frames of a still picture."""
MAX_CANDIDATES = 64
"""Pictures within PDQ_BITS that are looked at, the nearest first."""
MAX_TWINS = 16
"""Twins of one picture that are returned."""

IsCopy = Callable[[bytes, bytes], bool]
"""Tells whether two secret sketches (`images.keyed`) are those of copies of one picture."""

_ROW = Prepared(
    select(
        images.c.sha256,
        images.c.pdq_quality,
        images.c.phash,
        images.c.width,
        images.c.height,
        images.c.frames,
        images.c.keyed,
    ).where(images.c.id == bindparam("image_id", type_=BigInteger()))
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What twins are compared by besides the fingerprint; None is not known, and fits nothing."""

    width: int | None  # pixels, as displayed
    height: int | None
    frames: int | None  # how many the file holds
    keyed: bytes | None = None  # the secret sketch


class _Row(NamedTuple):
    sha256: bytes
    quality: int | None
    phash: bytes | None
    shape: Shape


class PrintedTwins:
    """Finds twins among the pictures fingerprinted here; any thread may ask."""

    def __init__(self, printed: PrintedIndex, near_clean: NearClean, is_copy: IsCopy) -> None:
        self._printed, self._near_clean, self._is_copy = printed, near_clean, is_copy

    def of(self, connection: Connection, fingerprint: FingerprintLike) -> list[tuple[int, int]]:
        """Return (image row id, distance in bits of PDQ) of each twin, nearest first.

        Of fingerprints that were given, and not computed here, there are none.
        """
        if self._near_clean is NearClean.OFF or not isinstance(fingerprint, StoredFingerprint):
            return []
        row = _row(connection, fingerprint.image_id)
        return [] if row is None else self._of(connection, fingerprint, row.shape)

    def seeing(self, shape: Shape | None) -> "PrintedTwins | _Seeing":
        """Return what finds the twins of a picture that was decoded just now, of that shape."""
        return self if shape is None else _Seeing(self, shape)

    def of_shape(
        self, connection: Connection, fingerprint: FingerprintLike, shape: Shape
    ) -> list[tuple[int, int]]:
        """Do as `of` for a picture of that shape, stored or not."""
        if self._near_clean is NearClean.OFF:
            return []
        return self._of(connection, fingerprint, shape)

    def _of(
        self, connection: Connection, fingerprint: FingerprintLike, shape: Shape
    ) -> list[tuple[int, int]]:
        asked = _Row(fingerprint.sha256, fingerprint.pdq_quality, fingerprint.phash, shape)
        if fingerprint.pdq is None or not self._may_have_twins(asked):
            return []
        self._printed.refresh(connection)
        near = self._printed.within([fingerprint.pdq], PDQ_BITS)[:MAX_CANDIDATES]
        found: list[tuple[int, int]] = []
        for image_id, distance in near:
            row = _row(connection, image_id)
            if row is not None and self._are_twins(asked, row):
                found.append((image_id, distance))
        return found[:MAX_TWINS]

    def _may_have_twins(self, row: _Row) -> bool:
        """Tell whether the picture is a still one with enough detail, and known well enough.

        Without a sketch it may show another picture over another ground or by its profile.
        """
        is_known = row.phash is not None and len(row.phash) == CODE_BYTES
        is_sharp = row.quality is not None and row.quality >= MIN_QUALITY
        is_still = row.shape.frames == STILL and bool(row.shape.width and row.shape.height)
        return is_known and is_sharp and is_still and row.shape.keyed is not None

    def _are_twins(self, asked: _Row, other: _Row) -> bool:
        return (
            asked.sha256 != other.sha256
            and self._may_have_twins(other)
            and _bits(asked.phash, other.phash) <= PHASH_BITS
            and _is_alike(asked.shape, other.shape)
            and self._copies(asked, other)
        )

    def _copies(self, asked: _Row, other: _Row) -> bool:
        first, second = asked.shape.keyed, other.shape.keyed
        return first is not None and second is not None and self._is_copy(first, second)


@dataclass(frozen=True, slots=True)
class _Seeing:
    """The twins of one picture whose shape is known."""

    twins: PrintedTwins
    shape: Shape

    def of(self, connection: Connection, fingerprint: FingerprintLike) -> Sequence[tuple[int, int]]:
        return self.twins.of_shape(connection, fingerprint, self.shape)


def _row(connection: Connection, image_id: int) -> _Row | None:
    for sha256, quality, phash, *shape in _ROW.rows(connection, image_id=image_id):
        return _Row(sha256, quality, phash, Shape(*shape))
    return None


def _bits(first: bytes | None, second: bytes | None) -> int:
    return (int.from_bytes(first or b"") ^ int.from_bytes(second or b"")).bit_count()


def _is_alike(first: Shape, second: Shape) -> bool:
    """Tell whether the aspect ratios differ by no more than ASPECT_PERCENT."""
    one = (first.width or 0) * (second.height or 0)
    other = (second.width or 0) * (first.height or 0)
    return 100 * max(one, other) <= (100 + ASPECT_PERCENT) * min(one, other)
