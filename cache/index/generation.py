"""Segments on disk: written whole, opened in a moment, checked before they are believed.

A generation is a folder of numpy arrays and a manifest. It appears under its name by one rename,
when everything in it is on disk, and never changes afterwards; removing it harms nobody who has
it open. `open_generation` checks at once what costs nothing (format, sizes, types, shapes, that
offsets only grow); whether every byte is as it was written is for `verify`, which reads all of
it. Until then nobody may conclude from a search that there is no match.
"""

import hashlib
import json
import os
import secrets
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import IndexDamaged
from cache.index.bands import BANDS, KEYS
from cache.index.segment import Segment
from cache.index.words import WORDS

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
READ_BYTES = 1 << 22
"""How much is read at a time to be verified."""

_ARRAYS = tuple(field.name for field in fields(Segment))
_KINDS = {"codes": "u8", "offsets": "u4", "rows": "u4", "starts": "u4", "crowds": "u4"}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A row of the table as it was when the generation was made: the two belong together."""

    row: int
    sequence: int
    code: str  # hex


@dataclass(frozen=True, slots=True)
class Generation:
    """Segments by name, that hold every change of a table up to `sequence`."""

    path: Path
    sequence: int
    anchors: tuple[Anchor, ...]
    segments: Mapping[str, Segment]
    checksums: Mapping[str, int]  # CRC-32 by file name
    size_bytes: int


def generations(folder: Path) -> list[Path]:
    """Return the generations of a folder, newest first."""
    return sorted(folder.glob("gen-*"), reverse=True)


def write_generation(
    folder: Path,
    table: str,
    sequence: int,
    anchors: Sequence[Anchor],
    segments: Mapping[str, Segment],
) -> Path:
    """Write segments under a name of their own, on disk when this returns."""
    name = f"{sequence:020d}-{secrets.token_hex(4)}"
    unfinished = folder / f"tmp-{name}"
    unfinished.mkdir(mode=0o700)
    arrays = {
        f"{part}.{array}.npy": _write_array(unfinished / f"{part}.{array}.npy", segment, array)
        for part, segment in segments.items()
        for array in _ARRAYS
    }
    manifest = {
        "format": FORMAT,
        "table": table,
        "byteorder": sys.byteorder,
        "sequence": sequence,
        "count": {part: len(segment) for part, segment in segments.items()},
        "anchors": [[one.row, one.sequence, one.code] for one in anchors],
        "arrays": arrays,
    }
    text = json.dumps(manifest | {"digest": _digest(manifest)}, sort_keys=True)
    _write(unfinished / MANIFEST, text.encode())
    _sync(unfinished)
    finished = folder / f"gen-{name}"
    unfinished.rename(finished)
    _sync(folder)
    return finished


def open_generation(path: Path, table: str, parts: Sequence[str]) -> Generation:
    """Open a generation of `table` with these parts; raises IndexDamaged for any other folder."""
    try:
        manifest = _manifest(path)
        if manifest["format"] != FORMAT or manifest["byteorder"] != sys.byteorder:
            raise IndexDamaged(f"{path} was written by another version.")
        if manifest["table"] != table or set(manifest["count"]) != set(parts):
            raise IndexDamaged(f"{path} is of another table.")
        arrays = {name: _open_array(path, name, facts) for name, facts in _named(manifest, parts)}
        segments = {part: _segment(arrays, part, manifest["count"][part]) for part in parts}
        return Generation(
            path,
            int(manifest["sequence"]),
            tuple(
                Anchor(int(row), int(number), str(code))
                for row, number, code in manifest["anchors"]
            ),
            segments,
            {name: int(facts["crc32"]) for name, facts in manifest["arrays"].items()},
            sum(int(facts["bytes"]) for facts in manifest["arrays"].values()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexDamaged(f"{path} cannot be read: {error}") from error


def verify(generation: Generation) -> None:
    """Read every byte; raises IndexDamaged where one is not as it was written."""
    for name, checksum in generation.checksums.items():
        try:
            found = _crc32(generation.path / name)
        except OSError as error:
            raise IndexDamaged(f"{generation.path / name} cannot be read: {error}") from error
        if found != checksum:
            raise IndexDamaged(f"{generation.path / name} is not as it was written.")


def _manifest(path: Path) -> dict[str, Any]:
    with (path / MANIFEST).open("rb") as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
    if len(text) > MAX_MANIFEST_BYTES:
        raise IndexDamaged(f"The manifest of {path} is too large.")
    manifest: dict[str, Any] = json.loads(text)
    if manifest.pop("digest") != _digest(manifest):
        raise IndexDamaged(f"The manifest of {path} is not as it was written.")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _named(manifest: Mapping[str, Any], parts: Sequence[str]) -> list[tuple[str, Any]]:
    names = [f"{part}.{array}.npy" for part in parts for array in _ARRAYS]
    return [(name, manifest["arrays"][name]) for name in names]


def _open_array(path: Path, name: str, facts: Mapping[str, Any]) -> NDArray[Any]:
    if (path / name).stat().st_size != facts["bytes"]:
        raise IndexDamaged(f"{path / name} is not as long as it was written.")
    array: NDArray[Any] = np.load(path / name, mmap_mode="r", allow_pickle=False)
    if array.dtype.str != facts["type"] or list(array.shape) != facts["shape"]:
        raise IndexDamaged(f"{path / name} holds another array than was written.")
    return array.view(np.ndarray)  # a plain array: memmap's own type makes each step slower


def _segment(arrays: Mapping[str, NDArray[Any]], part: str, count: int) -> Segment:
    """Return the arrays as a segment, which they must fit together to be."""
    segment = Segment(*(arrays[f"{part}.{array}.npy"] for array in _ARRAYS))
    codes = len(segment.codes)
    by_band = segment.offsets.reshape(BANDS, KEYS + 1)
    fits = (
        segment.codes.shape == (codes, WORDS)
        and all(getattr(segment, name).dtype == np.dtype(kind) for name, kind in _KINDS.items())
        and segment.rows.shape == (BANDS * codes,)
        and bool((by_band[:, 0] == 0).all() and (by_band[:, -1] == codes).all())
        and bool((by_band[:, 1:] >= by_band[:, :-1]).all())
        and all(len(one) == count for one in (segment.ids, segment.image_ids, segment.owners))
        and _starts_fit(segment.starts, codes, count)
    )
    if not fits:
        raise IndexDamaged(f"The arrays of {part} do not belong together.")
    return segment


def _starts_fit(starts: NDArray[np.uint32], codes: int, count: int) -> bool:
    if not len(starts):
        return codes == count
    return len(starts) == codes + 1 and int(starts[0]) == 0 and int(starts[-1]) == count


def _write_array(path: Path, segment: Segment, name: str) -> dict[str, object]:
    """Write one array; returns what the manifest says of it."""
    array = np.ascontiguousarray(getattr(segment, name))
    with path.open("xb") as file:
        writer = _Checked(file)
        np.lib.format.write_array(writer, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {
        "bytes": writer.written,
        "crc32": writer.checksum,
        "type": array.dtype.str,
        "shape": list(array.shape),
    }


class _Checked:
    """A file that counts what is written to it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.written = self.checksum = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        self.checksum = zlib.crc32(data, self.checksum)
        return int(self._file.write(data))


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(READ_BYTES):
            checksum = zlib.crc32(data, checksum)
    return checksum


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
