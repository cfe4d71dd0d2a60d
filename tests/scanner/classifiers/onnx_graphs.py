"""Small ONNX files, built with the package onnx."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, inputs, outputs, weights=(), opset=17):
    """Write a graph whose inputs and outputs are (name, type, shape)."""
    ins, outs = (
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in some]
        for some in (inputs, outputs)
    )
    arrays = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()
    ]
    graph = helper.make_graph(nodes, "graph", ins, outs, arrays)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, str(path))
    return path


def mean_colour(path, matrix, *, layout="NCHW", shape=("n", 3, 8, 8), kind=TensorProto.FLOAT):
    """Write a classifier whose outputs are `matrix` (3, outputs) applied to the mean colour."""
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["numbers"]),
    ]
    matrix = np.asarray(matrix, np.float32)
    inputs = [("pixels", kind, shape)]
    outputs = [("numbers", TensorProto.FLOAT, [shape[0], matrix.shape[1]])]
    return save(path, nodes, inputs, outputs, {"matrix": matrix})
