"""Writes an open_clip classifier as an ONNX graph; imports torch, as `clip.py` does.

It stands beside `clip.py` because every process that scans with torch loads that file, and none
of them exports. The graph is the very module that scores there (`Scorer`), in fp32: it takes
uint8 pixels (n, height, width, 3) and gives probabilities (n, labels); mean and deviation, the
policy's texts and each label's softmax are in it. The card, and the file's place, are
`export.py`'s.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from scanner.classifiers.clip import ClipClassifier, Scorer
from scanner.classifiers.onnx import INPUT, OUTPUT
from scanner.errors import ModelError

OPSET = 17
"""LayerNorm is one operator from here on; every ONNX Runtime since 1.12 knows it."""
TEXTS = "_texts"
"""The name of the text matrix, in `Scorer` and in the graph."""


def write_graph(classifier: ClipClassifier, path: Path) -> None:
    """Write the graph of a classifier that is on the CPU, in fp32; raises ModelError."""
    preprocess = classifier.preprocess
    scorer = Scorer(classifier.parts(), preprocess, torch.float32).eval()
    sample = torch.zeros((2, preprocess.height, preprocess.width, 3), dtype=torch.uint8)
    try:
        with _exportable():
            _export(scorer, sample, path)
    except Exception as error:
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"torch cannot write {classifier.name} as ONNX: {first}") from error


def _export(scorer: torch.nn.Module, sample: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        scorer,
        (sample,),
        str(path),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
        dynamo=False,  # needs no onnxscript and half the time; what it computes is the same
    )


@contextlib.contextmanager
def _exportable() -> Iterator[None]:
    """Attention in one fused operator has no ONNX form: it is off while exporting."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: the batch is the only length that varies
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
