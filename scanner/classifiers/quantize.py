"""Makes the matrix products of an ONNX graph int8: each row of the input has its own scale.

ONNX Runtime's own dynamic quantisation gives one scale to a whole batch, so that a picture's
score would depend on the pictures beside it; measured, that moved scores as much as the
rounding itself. Here each row (one token of one picture) is scaled by its own largest value,
at about a tenth of the time saved. Weights have a scale for each column and 7 bits, -63..63:
with 8, processors without VNNI saturate where they add pairs of products, and one pipeline
would score differently on two machines; with 7 the integers are exact everywhere.

Left in fp32: convolutions (so the patch embedding), products of two computed values (attention),
small matrices, and the product with the texts, which is cheap and where errors cost most.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.errors import ModelError

SIDE_MIN = 64
"""Rows and columns under which a matrix is left alone."""
WEIGHT_MAX, INPUT_MAX, INPUT_ZERO = 63, 127, 128
TINY = np.float32(1e-20)
"""A scale for rows of zeros."""
RUNTIME = "com.microsoft"
"""The operators of ONNX Runtime itself."""

Matrix = NDArray[np.float32]


def quantize(source: Path, target: Path, keep: frozenset[str]) -> int:
    """Write `source` with int8 products to `target`, and return how many there are.

    `keep` names weights that stay as they are. Raises ModelError if nothing was to be gained.
    """
    import onnx  # noqa: PLC0415  an extra, and only exporting needs it

    model = onnx.load(str(source))
    count = _Rewriter(onnx, model, keep).run()
    if not count:
        raise ModelError("this model has no matrix product that int8 would make faster")
    onnx.save(model, str(target))
    return count


class _Rewriter:
    """Replaces the products of one graph."""

    def __init__(self, onnx: Any, model: Any, keep: frozenset[str]) -> None:
        self._onnx, self._model, self._keep = onnx, model, keep
        self._weights = {one.name: one for one in model.graph.initializer}
        self._made: list[Any] = []
        self._count = 0

    def run(self) -> int:
        graph = self._model.graph
        nodes = [new for node in graph.node for new in self._replaced(node)]
        del graph.node[:]
        graph.node.extend(nodes)
        self._keep_what_is_used()
        self._model.opset_import.append(self._onnx.helper.make_opsetid(RUNTIME, 1))
        return self._count

    def _keep_what_is_used(self) -> None:
        graph = self._model.graph
        used = {name for node in graph.node for name in node.input}
        kept = [one for one in (*graph.initializer, *self._made) if one.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _replaced(self, node: Any) -> Iterator[Any]:
        weights = self._weights_of(node)
        if weights is None:
            yield node
            return
        self._count += 1
        yield from self._product(node, weights, f"int8_{self._count}_")

    def _weights_of(self, node: Any) -> Matrix | None:
        """Return the constant matrix (in, out) of a product worth replacing, else None."""
        if node.op_type not in {"MatMul", "Gemm"} or node.input[1] in self._keep:
            return None
        found = self._weights.get(node.input[1])
        if found is None or len(found.dims) != 2 or min(found.dims) < SIDE_MIN:
            return None
        facts = {one.name: self._onnx.helper.get_attribute_value(one) for one in node.attribute}
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        if any(facts.get(name, value) != value for name, value in plain.items()):
            return None
        matrix = np.asarray(self._onnx.numpy_helper.to_array(found), np.float32)
        return matrix.T if facts.get("transB") else matrix

    def _product(self, node: Any, weights: Matrix, name: str) -> Iterator[Any]:
        """Yield the nodes that take the place of one product."""
        rows, scaled = f"{name}rows", f"{name}scaled"
        flat = self._ints(f"{name}flat", -1, len(weights))
        yield self._node("Reshape", [node.input[0], flat], rows)
        yield from self._input(rows, name)
        yield from self._integers(weights, name)
        has_bias = len(node.input) > 2
        yield self._node("Mul", [f"{name}sums", f"{name}column"], scaled)
        if has_bias:
            yield self._node("Add", [scaled, node.input[2]], f"{name}biased")
        yield self._node("Shape", [node.input[0]], f"{name}lead", end=-1)
        width = self._ints(f"{name}width", weights.shape[1])
        yield self._node("Concat", [f"{name}lead", width], f"{name}shape", axis=0)
        result = f"{name}biased" if has_bias else scaled
        yield self._node("Reshape", [result, f"{name}shape"], node.output[0])

    def _input(self, rows: str, name: str) -> Iterator[Any]:
        """Yield what turns each row into uint8 around 128, and its scale into a column."""
        scale = f"{name}scale"
        yield self._node("Abs", [rows], f"{name}abs")
        yield self._node("ReduceMax", [f"{name}abs"], f"{name}largest", axes=[1], keepdims=0)
        yield self._node("Max", [f"{name}largest", self._array(f"{name}tiny", TINY)], f"{name}top")
        step = self._array(f"{name}step", np.float32(1 / INPUT_MAX))
        yield self._node("Mul", [f"{name}top", step], scale)
        zero = self._array(f"{name}zero", np.array([INPUT_ZERO], np.uint8))
        yield self._node("Shape", [scale], f"{name}count")
        yield self._node("Expand", [zero, f"{name}count"], f"{name}zeros")
        yield self._node("QuantizeLinear", [rows, scale, f"{name}zeros"], f"{name}input", axis=0)
        yield self._node("Unsqueeze", [scale, self._ints(f"{name}axis", 1)], f"{name}column")

    def _integers(self, weights: Matrix, name: str) -> Iterator[Any]:
        """Yield the integer product, scaled by the weights' columns."""
        scales = np.maximum(np.abs(weights).max(0), TINY) / np.float32(WEIGHT_MAX)
        rounded = np.rint(weights / scales).clip(-WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)
        inputs = [
            f"{name}input",
            self._array(f"{name}weights", rounded),
            self._array(f"{name}one", np.float32(1)),
            self._array(f"{name}scales", scales.astype(np.float32)),
            self._array(f"{name}middle", np.uint8(INPUT_ZERO)),
        ]
        yield self._node("MatMulIntegerToFloat", inputs, f"{name}sums", domain=RUNTIME)

    def _node(self, kind: str, inputs: list[str], output: str, **facts: Any) -> Any:
        return self._onnx.helper.make_node(kind, inputs, [output], **facts)

    def _array(self, name: str, value: Any) -> str:
        self._made.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _ints(self, name: str, *values: int) -> str:
        return self._array(name, np.array(values, np.int64))
