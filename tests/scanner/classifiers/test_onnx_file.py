"""What an ONNX file says of itself: read from its bytes, hostile ones included."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from scanner.classifiers.onnx_file import (
    METADATA_BYTES_MAX,
    Damaged,
    metadata_entry,
    parse_onnx,
    read_onnx_file,
)
from scanner.errors import ModelError
from tests.scanner.classifiers.onnx_graphs import mean_colour

MATRIX = np.eye(3, 2)


@pytest.fixture
def path(tmp_path):
    return mean_colour(tmp_path / "model.onnx", MATRIX)


def test_a_file_without_metadata_has_none_and_is_whole(path):
    found = read_onnx_file(path)
    assert (found.metadata, found.is_whole) == ({}, True)
    assert found.metadata_start == path.stat().st_size


@given(st.text(max_size=300), st.text(max_size=300))
def test_an_entry_put_behind_a_file_is_read_as_onnx_reads_it(key, value):
    graph = helper.make_graph([], "g", [], [])
    plain = helper.make_model(graph).SerializeToString()
    data = plain + metadata_entry(key, value)
    assert parse_onnx(data).metadata == {key: value}
    assert parse_onnx(data).metadata_start == len(plain)
    [entry] = onnx.load_from_string(data).metadata_props
    assert (entry.key, entry.value) == (key, value)


def test_metadata_of_a_million_bytes_are_read_and_one_more_is_refused(path):
    plain = path.read_bytes()
    overhead = 1 + 1 + 1 + 1 + 3  # key's tag, length and byte; value's tag and length
    text = "x" * (METADATA_BYTES_MAX - overhead)
    assert parse_onnx(plain + metadata_entry("k", text)).metadata == {"k": text}
    with pytest.raises(Damaged, match="over 1000000 bytes"):
        parse_onnx(plain + metadata_entry("k", text + "x"))


def test_a_graph_put_behind_the_metadata_is_refused(path):
    """Protobuf would add it to the graph that was there."""
    data = path.read_bytes() + metadata_entry("fediverdict", "{}") + path.read_bytes()
    with pytest.raises(Damaged, match="not at its end"):
        parse_onnx(data)


def test_weights_in_another_file_are_seen(tmp_path):
    plain = onnx.load(str(mean_colour(tmp_path / "whole.onnx", np.ones((3, 2)))))
    onnx.save(plain, str(tmp_path / "split.onnx"), save_as_external_data=True, size_threshold=0)
    assert not read_onnx_file(tmp_path / "split.onnx").is_whole


def test_weights_in_another_file_are_seen_in_a_constant_of_an_inner_graph(tmp_path):
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "inner",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)
    model = helper.make_model(helper.make_graph([node], "outer", [], []))
    assert not parse_onnx(model.SerializeToString()).is_whole


@pytest.mark.parametrize("data", [b"", b"\x00", b"not an ONNX file", b"\x7fELF" + bytes(100)])
def test_what_is_no_onnx_file_is_refused(tmp_path, data):
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"is no ONNX file|cannot read"):
        read_onnx_file(tmp_path / "x.onnx")


def test_every_shortened_file_is_refused_or_has_lost_only_its_end(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        try:
            found = parse_onnx(whole[:length])
        except Damaged:
            continue
        assert found.metadata == {}  # the end of a field: a valid message of fewer fields


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data):
    try:
        parse_onnx(data)
    except (Damaged, UnicodeDecodeError) as error:
        assert isinstance(error, ValueError)


def test_a_graph_within_graphs_without_end_is_refused():
    def message(number, content):
        return bytes([number << 3 | 2]) + _length(len(content)) + content

    def _length(value):
        return bytes([value & 0x7F | 0x80, value >> 7]) if value > 0x7F else bytes([value])

    data = b""
    for _ in range(300):  # graph -> node -> attribute -> graph
        data = message(1, message(5, message(6, data)))
        if len(data) > 8_000:
            break
    with pytest.raises(Damaged, match="nested too deep"):
        parse_onnx(message(7, data))


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    for place in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match="cannot read the model"):
            read_onnx_file(place)
