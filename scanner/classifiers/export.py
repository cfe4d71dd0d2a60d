"""Exports an open_clip model and a policy into one ONNX file, for machines without torch.

The file is written beside its place, checked against torch on drawn pictures, and only then
moved there: whoever opens it finds a whole and right one, or the one from before.
"""

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from scanner.classifiers.onnx import CARD, ExportCard, OnnxClassifier, export_name, model_name
from scanner.classifiers.onnx_file import metadata_entry
from scanner.classifiers.onnx_session import is_importable
from scanner.classifiers.pipeline import pipeline_id
from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.classifiers.quantize import quantize
from scanner.errors import ModelError
from scanner.policy import Policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import draw_noise, draw_pattern

if TYPE_CHECKING:
    from scanner.classifiers.clip import ClipClassifier

Precision = Literal["fp32", "int8"]
DIFFERENCE_MAX = 20
"""Score units, of 10,000, that an fp32 export may differ from torch on drawn pictures."""
TEMPORARY = ".export-"
LEFT_SECONDS = 86_400
GRAPH_BYTES_MAX = 2**31 - 1
"""ONNX files are protobuf messages, which end here."""
NEEDED = ("torch", "open_clip", "onnxruntime", "onnx")
NO_EXPORT = (
    "exporting needs torch, open_clip, ONNX Runtime and onnx: pip install 'fediverdict[export]'; "
    "the file is then used where only ONNX Runtime is"
)


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    pipeline: dict[str, str]
    pipeline_id: str


def export_model(
    settings: ScannerSettings, policy: Policy, precision: Precision, output: Path | None = None
) -> Exported:
    """Write the export of the settings' model by a policy; raises ModelError.

    It goes to `output`, by default into the exports folder under the name it is looked for by.
    """
    classifier = _with_torch(settings, policy)
    path = output or settings.exports_folder / export_name(settings, policy, precision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path.parent)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as folder:
            made = _make(classifier, settings, precision, Path(folder))
            _check(
                classifier, OnnxClassifier.load(made, _here(settings, precision), policy), precision
            )
            made.replace(path)
            _sync(path.parent)
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"cannot write the export {path}: {error.strerror}") from error
    pipeline = _pipeline(classifier, precision)
    return Exported(path, size, pipeline, pipeline_id(pipeline))


def _tidy(folder: Path) -> None:
    """Remove what exports that were killed left behind, a day later."""
    for left in folder.glob(f"{TEMPORARY}*"):
        if time.time() - left.stat().st_mtime > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _with_torch(settings: ScannerSettings, policy: Policy) -> "ClipClassifier":
    missing = [name for name in NEEDED if not is_importable(name)]
    if missing:
        raise ModelError(f"{NO_EXPORT} (no module named {missing[0]})")
    from scanner.classifiers.clip import ClipClassifier  # noqa: PLC0415  torch takes seconds to import

    return ClipClassifier.load(_fresh(settings), policy)


def _fresh(settings: ScannerSettings) -> ScannerSettings:
    """Return the settings by which an export is made: on the CPU, in fp32."""
    return settings.model_copy(update={"device": "cpu", "precision": "fp32", "compile": False})


def _here(settings: ScannerSettings, precision: Precision) -> ScannerSettings:
    """Return the settings by which the export is tried."""
    return settings.model_copy(update={"device": "cpu", "precision": precision})


def _make(
    classifier: "ClipClassifier", settings: ScannerSettings, precision: Precision, folder: Path
) -> Path:
    """Return a complete file in `folder`."""
    from scanner.classifiers.clip_export import TEXTS, write_graph  # noqa: PLC0415  imports torch

    graph = folder / "graph.onnx"
    write_graph(classifier, graph)
    if precision == "int8":
        whole = folder / "int8.onnx"
        quantize(graph, whole, frozenset({TEXTS}))
        graph = whole
    _add_card(graph, classifier, settings, precision)
    return graph


def _add_card(
    graph: Path, classifier: "ClipClassifier", settings: ScannerSettings, precision: Precision
) -> None:
    with graph.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    card = ExportCard(
        model=model_name(settings),
        pipeline=_pipeline(classifier, precision),
        labels=classifier.labels,
        graph_bytes=graph.stat().st_size,
        graph_sha256=digest,
    )
    entry = metadata_entry(CARD, card.model_dump_json())
    if card.graph_bytes + len(entry) > GRAPH_BYTES_MAX:
        raise ModelError(f"{classifier.name} is over 2 GB, more than one ONNX file can hold")
    with graph.open("ab") as file:
        file.write(entry)
        file.flush()
        os.fsync(file.fileno())


def _pipeline(classifier: "ClipClassifier", precision: Precision) -> dict[str, str]:
    """Return the pipeline of an export: torch's own for fp32."""
    return {**classifier.pipeline, "precision": precision}


def _check(classifier: "ClipClassifier", exported: OnnxClassifier, precision: Precision) -> None:
    """Raise ModelError unless the export scores as torch does, alone and in a batch."""
    pixels = _drawn(classifier.preprocess)
    wanted, found = classifier.score(pixels), exported.score(pixels)
    alone = [exported.score(pixels[number : number + 1])[0] for number in range(len(pixels))]
    apart = max(_apart(found, alone), _apart(found, wanted) if precision == "fp32" else 0)
    if apart > DIFFERENCE_MAX:
        raise ModelError(
            f"the export of {classifier.name} differs from torch by {apart} of 10,000: "
            'it is not kept; use scanner.backend = "torch"'
        )


def _apart(some: list[dict[str, int]], others: list[dict[str, int]]) -> int:
    pairs = zip(some, others, strict=True)
    return max(abs(one[label] - other[label]) for one, other in pairs for label in one)


def _drawn(preprocess: Preprocess) -> Pixels:
    """Return four drawn pictures as the model sees them."""
    frames = [draw(seed) for seed in (1, 2) for draw in (draw_pattern, draw_noise)]
    return np.ascontiguousarray(preprocess.apply(frames))


def _sync(folder: Path) -> None:
    """Make a rename outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
