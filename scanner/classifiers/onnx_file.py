"""What an ONNX file says of itself, read without running or loading it.

An ONNX file is one protobuf message. Here it is walked from length to length, so that a file of
a gigabyte takes milliseconds and no memory: its metadata, where they begin, and whether it wants
weights from other files. What its graph computes is left to ONNX Runtime.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scanner.errors import ModelError

GRAPH, METADATA, FUNCTIONS = 7, 14, 25  # fields of a ModelProto
NODES, TENSORS, SPARSE_TENSORS = 1, 5, 15  # of a GraphProto
FUNCTION_NODES, ATTRIBUTES = 7, 5  # of a FunctionProto, of a NodeProto
DATA_LOCATION, EXTERNAL = 14, 1  # of a TensorProto
METADATA_BYTES_MAX = 1_000_000
DEPTH_MAX = 16
"""Graphs within nodes within graphs."""

INSIDE = {
    "model": {GRAPH: "graph", FUNCTIONS: "function"},
    "graph": {NODES: "node", TENSORS: "tensor", SPARSE_TENSORS: "sparse"},
    "function": {FUNCTION_NODES: "node"},
    "node": {ATTRIBUTES: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Message -> field -> the message in it, as far as weights may lie there."""

Bytes = bytes | mmap.mmap


class Damaged(ValueError):
    """The bytes are no ONNX file, or not all of one."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a file says of itself."""

    metadata: dict[str, str]
    metadata_start: int
    """Bytes of the model before its first entry of metadata; everything from here on is such."""
    is_whole: bool
    """False: some weights lie in other files."""


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    start: int
    """Where its tag stands."""
    value: int
    """Of a number; of a message, where it begins."""
    end: int
    is_message: bool


def read_onnx_file(path: Path) -> OnnxFile:
    """Return what the file at `path` says of itself; raises ModelError."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse_onnx(data)
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelError(f"{path} is no ONNX file, or a damaged one: {error}") from error


def parse_onnx(data: Bytes) -> OnnxFile:
    """Return what the bytes of an ONNX file say; raises Damaged."""
    metadata: dict[str, str] = {}
    start, has_graph = len(data), False
    for field in _fields(data, 0, len(data)):
        has_graph = has_graph or field.number == GRAPH
        if field.number == METADATA and field.is_message:
            key, value = _entry(data, field)
            if key in metadata:
                raise Damaged(f"its metadata have {key!a} twice")
            metadata[key] = value
            start = min(start, field.start)
        elif metadata:
            raise Damaged("its metadata are not at its end")
    if not has_graph:
        raise Damaged("it has no graph")
    return OnnxFile(metadata, start, not _is_external(data, "model", 0, len(data), 0))


def metadata_entry(key: str, value: str) -> bytes:
    """Return the bytes that, put behind an ONNX file, add one entry to its metadata."""
    inner = b"".join(_message(number, text.encode()) for number, text in ((1, key), (2, value)))
    return _message(METADATA, inner)


def _message(number: int, content: bytes) -> bytes:
    return _varint_bytes(number << 3 | 2) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _entry(data: Bytes, field: _Field) -> tuple[str, str]:
    if field.end - field.value > METADATA_BYTES_MAX:
        raise Damaged(f"an entry of its metadata is over {METADATA_BYTES_MAX} bytes")
    inner = {one.number: one for one in _fields(data, field.value, field.end) if one.is_message}
    return _text(data, inner.get(1)), _text(data, inner.get(2))


def _text(data: Bytes, field: _Field | None) -> str:
    return data[field.value : field.end].decode() if field else ""


def _is_external(data: Bytes, kind: str, start: int, end: int, depth: int) -> bool:
    """Tell whether a message, or one within it, is a tensor whose data lie elsewhere."""
    if depth > DEPTH_MAX * len(INSIDE):
        raise Damaged("its graphs are nested too deep")
    for field in _fields(data, start, end):
        if kind == "tensor" and field.number == DATA_LOCATION and field.value == EXTERNAL:
            return True
        inner = INSIDE[kind].get(field.number)
        if inner is None or not field.is_message:
            continue
        if _is_external(data, inner, field.value, field.end, depth + 1):
            return True
    return False


def _fields(data: Bytes, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of the message between two places; raises Damaged."""
    place = start
    while place < end:
        tag, after = _varint(data, place, end)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, stop = _varint(data, after, end)
        elif kind == 2:
            length, value = _varint(data, after, end)
            stop = value + length
        elif kind in {1, 5}:
            value, stop = after, after + (8 if kind == 1 else 4)
        else:
            raise Damaged(f"no protobuf at byte {place}")
        if stop > end or number == 0:
            raise Damaged(f"it breaks off at byte {place}")
        yield _Field(number, place, value, stop, kind == 2)
        place = stop


def _varint(data: Bytes, place: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, and the place behind it."""
    value = 0
    for position in range(10):
        if place + position >= end:
            break
        byte = data[place + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, place + position + 1
    raise Damaged(f"it breaks off at byte {place}")
