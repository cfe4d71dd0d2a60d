"""int8 products: near the product in fp32, and each row for itself."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from scanner.classifiers.quantize import SIDE_MIN, quantize
from scanner.errors import ModelError
from tests.scanner.classifiers.onnx_graphs import save

RNG = np.random.default_rng(5)
NOTHING: frozenset[str] = frozenset()


def product(path, kind, weights, bias=None, shape=("n", "k"), **facts):
    names = ["x", "w", *(["b"] if bias is not None else [])]
    arrays = {"w": weights, **({"b": bias} if bias is not None else {})}
    node = helper.make_node(kind, names, ["y"], **facts)
    inputs = [("x", TensorProto.FLOAT, list(shape))]
    outputs = [("y", TensorProto.FLOAT, [None] * len(shape))]
    return save(path, [node], inputs, outputs, arrays)


def run(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "facts"),
    [
        ("MatMul", (5, 96), {}),
        ("MatMul", (3, 7, 96), {}),
        ("Gemm", (5, 96), {}),
        ("Gemm", (5, 96), {"transB": 1}),
    ],
)
def test_a_product_in_int8_is_near_the_one_in_fp32(tmp_path, kind, shape, facts):
    weights = floats(128, 96) if facts else floats(96, 128)
    bias = floats(128) if kind == "Gemm" else None
    plain = product(tmp_path / "f.onnx", kind, weights, bias, [None] * len(shape), **facts)
    assert quantize(plain, tmp_path / "q.onnx", NOTHING) == 1
    x = floats(*shape)
    wanted, found = run(plain, x), run(tmp_path / "q.onnx", x)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    assert not np.array_equal(found, wanted)


def test_a_row_does_not_depend_on_the_rows_beside_it(tmp_path):
    """With one scale a batch, a row of large numbers would coarsen all others."""
    plain = product(tmp_path / "f.onnx", "MatMul", floats(96, 128))
    quantize(plain, tmp_path / "q.onnx", NOTHING)
    x = floats(4, 96)
    x[0] *= 1_000
    together = run(tmp_path / "q.onnx", x)
    for number in range(4):
        assert np.array_equal(run(tmp_path / "q.onnx", x[number : number + 1])[0], together[number])


def test_rows_of_zeros_stay_zeros(tmp_path):
    plain = product(tmp_path / "f.onnx", "MatMul", floats(96, 128))
    quantize(plain, tmp_path / "q.onnx", NOTHING)
    assert not run(tmp_path / "q.onnx", np.zeros((2, 96), np.float32)).any()


def test_weights_have_seven_bits_so_that_no_processor_saturates(tmp_path):
    plain = product(tmp_path / "f.onnx", "MatMul", floats(96, 128))
    quantize(plain, tmp_path / "q.onnx", NOTHING)
    arrays = [onnx.numpy_helper.to_array(one) for one in _graph(tmp_path / "q.onnx").initializer]
    [weights] = [array for array in arrays if array.dtype == np.int8]
    assert np.abs(weights.astype(int)).max() == 63
    assert 2 * 255 * 63 < 2**15  # the sum of a pair, where AVX2 has 16 bits for it


@pytest.mark.parametrize("side", [SIDE_MIN - 1, SIDE_MIN])
def test_matrices_of_less_than_64_rows_are_left_alone(tmp_path, side):
    plain = product(tmp_path / "f.onnx", "MatMul", floats(side, 128))
    if side >= SIDE_MIN:
        assert quantize(plain, tmp_path / "q.onnx", NOTHING) == 1
        return
    with pytest.raises(ModelError, match="no matrix product"):
        quantize(plain, tmp_path / "q.onnx", NOTHING)


@pytest.mark.parametrize("facts", [{"alpha": 2.0}, {"beta": 0.5}])
def test_products_with_factors_are_left_alone(tmp_path, facts):
    plain = product(tmp_path / "f.onnx", "Gemm", floats(96, 128), floats(128), **facts)
    with pytest.raises(ModelError, match="no matrix product"):
        quantize(plain, tmp_path / "q.onnx", NOTHING)


def test_weights_that_are_to_be_kept_are_kept(tmp_path):
    plain = product(tmp_path / "f.onnx", "MatMul", floats(96, 128))
    with pytest.raises(ModelError, match="no matrix product"):
        quantize(plain, tmp_path / "q.onnx", frozenset({"w"}))


def test_the_weights_in_fp32_are_gone(tmp_path):
    plain = product(tmp_path / "f.onnx", "MatMul", floats(256, 256))
    quantize(plain, tmp_path / "q.onnx", NOTHING)
    assert (tmp_path / "q.onnx").stat().st_size < plain.stat().st_size / 3


def _graph(path):
    return onnx.load(str(path)).graph
