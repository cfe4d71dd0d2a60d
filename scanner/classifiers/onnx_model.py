"""Any ONNX classifier by config alone: `scanner.model` names it, `[scanner.onnx_model]` says how.

For classifiers that give one number for each of a list of outputs, such as open_nsfw's. Models
that give boxes (NudeNet) need code, `plugins.py`. The pipeline's description holds the file's
digest and the whole table, so that two instances with the same file and another table are two
pipelines.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.classifiers.classifier import Described, to_score
from scanner.classifiers.fetching import file_sha256
from scanner.classifiers.onnx_session import Floats, OnnxSession
from scanner.classifiers.pipeline import describe
from scanner.classifiers.preprocess import SIDE_MAX, Pixels, Preprocess
from scanner.classifiers.windows import RATIO, WINDOWS_MAX
from scanner.errors import ModelError
from scanner.policy import Policy
from scanner.settings import OnnxModelSettings, ScannerSettings, batch_of

SUFFIX = ".onnx"
WHERE = "[scanner.onnx_model]"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
ROUNDING = 1e-3
"""By how much a probability may leave 0..1 before it is taken for something else."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """What the file and the table say together."""

    input: str
    dtype: type
    output: str
    height: int
    width: int
    batch: int
    """Entries of one run; files that were saved for one entry take no more."""


class OnnxModelClassifier(Described):
    """Scores pixels by the labels that a table gives to the outputs of one ONNX file."""

    def __init__(self, session: OnnxSession, settings: ScannerSettings, policy: Policy) -> None:
        if settings.onnx_model is None:
            raise ModelError(f"{settings.model} needs {WHERE}, see docs/classifiers.md")
        self._session, self._table = session, settings.onnx_model
        _check_labels(self._table, policy)
        self._graph = _graph(session, self._table, batch_of(settings, has_device=False))
        self._columns = {
            label: [self._table.outputs.index(name) for name in self._table.labels[label]]
            for label in policy.labels
        }
        self._mean, self._std = (
            np.array(colour, np.float32) for colour in (self._table.mean, self._table.std)
        )
        sha256 = file_sha256(session.path)
        _check_pinned(session.path, sha256, settings.weights_sha256)
        name = f"{session.path.stem}-{sha256[:12]}"
        pipeline = describe(
            architecture=name,
            policy=policy.digest(),
            precision=self._table.precision,
            preprocessing=_description(self._graph, self._table),
            weights=sha256,
        )
        preprocess = _preprocess(self._graph, self._table)
        super().__init__(name, tuple(policy.labels), pipeline, preprocess)

    @classmethod
    def load(cls, settings: ScannerSettings, policy: Policy) -> "OnnxModelClassifier":
        """Return the classifier of the settings; raises ModelError."""
        return cls(OnnxSession(Path(settings.model).expanduser(), settings), settings, policy)

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry of (n, height, width, 3) uint8, in order."""
        step = self._graph.batch
        parts = (pixels[start : start + step] for start in range(0, len(pixels), step))
        return [scores for part in parts for scores in self._score(part)]

    def _score(self, pixels: Pixels) -> list[dict[str, int]]:
        raw = self._session.run(self._graph.output, {self._graph.input: self._input(pixels)})
        wanted = (len(pixels), len(self._table.outputs))
        if raw.size != wanted[0] * wanted[1]:
            raise ModelError(f"{self._session.path} gave {raw.shape}, but {wanted} was expected")
        rows = self._probabilities(raw.reshape(wanted))
        return [{name: self._label(row, name) for name in self._columns} for row in rows]

    def _input(self, pixels: Pixels) -> NDArray[Any]:
        """Return the pixels as the file reads them."""
        table = self._table
        colours: NDArray[Any] = pixels if table.colours == "RGB" else pixels[..., ::-1]
        if self._graph.dtype is not np.uint8:
            colours = (colours * np.float32(table.scale) - self._mean) / self._std
        laid = colours if table.layout == "NHWC" else colours.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(laid, self._graph.dtype)

    def _probabilities(self, raw: Floats) -> Floats:
        if not np.isfinite(raw).all():
            raise ModelError(f"{self._session.path} gave what is no number: it is damaged")
        found = _activated(raw, self._table.activation)
        if found.min() < -ROUNDING or found.max() > 1 + ROUNDING:
            raise ModelError(
                f"{self._session.path} gave {found.min():g} to {found.max():g}, which are no "
                f"probabilities: set activation in {WHERE} to sigmoid or softmax"
            )
        return found

    def _label(self, row: Floats, label: str) -> int:
        numbers = row[self._columns[label]]
        return to_score(float(numbers.sum() if self._table.combine == "sum" else numbers.max()))


def _activated(raw: Floats, activation: str) -> Floats:
    if activation == "none":
        return raw
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-raw.clip(-80, 80))), np.float32)
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _check_labels(table: OnnxModelSettings, policy: Policy) -> None:
    """Raise ModelError unless the table gives outputs to every label of the policy, and no other.

    A label without a score would leave its rules undetermined, and every picture in review.
    """
    if len(set(table.outputs)) != len(table.outputs):
        raise ModelError(f"{WHERE} names an output twice; each needs a name of its own")
    strange = sorted(set(table.labels) - set(policy.labels))
    if strange:
        raise ModelError(
            f"{WHERE} has the label {strange[0]}, which the policy {policy.name} lacks"
        )
    for label in policy.labels:
        outputs = table.labels.get(label, ())
        unknown = [name for name in outputs if name not in table.outputs]
        if unknown:
            raise ModelError(f"{WHERE}: {label} wants {unknown[0]}, which is not among outputs")
        if not outputs or len(set(outputs)) != len(outputs):
            raise ModelError(f"{WHERE}: {label} needs outputs, each once, or leaves the policy")


def _check_pinned(path: Path, sha256: str, pinned: str | None) -> None:
    if pinned and pinned != sha256:
        raise ModelError(
            f"{path} has the SHA-256 {sha256}, but scanner.weights_sha256 is {pinned}: "
            "it is another file, or damaged; fetch it again or mend the setting"
        )


def _graph(session: OnnxSession, table: OnnxModelSettings, batch: int) -> _Graph:
    """Return what the file wants; raises ModelError where the table does not fit it."""
    name = table.input or next(iter(session.inputs), "")
    if name not in session.inputs or len(session.inputs) != 1:
        raise ModelError(
            f"{session.path} has the inputs {', '.join(session.inputs)}; it must have one, and "
            f"{WHERE} may name no other"
        )
    output = table.output or next(iter(session.outputs), "")
    if output not in session.outputs:
        raise ModelError(
            f"{session.path} has no output {output}, but {', '.join(session.outputs)}; "
            f"mend output in {WHERE}"
        )
    kind, shape = session.inputs[name]
    if kind not in TYPES or len(shape) != 4:
        raise ModelError(f"{session.path} takes {kind} of {len(shape)} dimensions, no pictures")
    height, width = _size(session.path, shape, table)
    _check_outputs(session, output, table)
    return _Graph(name, TYPES[kind], output, height, width, min(batch, shape[0] or batch))


def _check_outputs(session: OnnxSession, output: str, table: OnnxModelSettings) -> None:
    _, shape = session.outputs[output]
    count = shape[-1] if shape else None
    if count is not None and len(shape) == 2 and count != len(table.outputs):
        raise ModelError(
            f"{session.path} gives {count} numbers, but outputs in {WHERE} has "
            f"{len(table.outputs)} names"
        )


def _size(path: Path, shape: tuple[int | None, ...], table: OnnxModelSettings) -> tuple[int, int]:
    """Return height and width; raises ModelError where they are not known, or not one answer."""
    channels, *sides = (shape[1], *shape[2:]) if table.layout == "NCHW" else (shape[3], *shape[1:3])
    if channels not in {3, None}:
        raise ModelError(f"{path} has {channels} where layout {table.layout} has 3 colours")
    size = []
    for name, here in zip(("height", "width"), sides, strict=True):
        asked = getattr(table, name)
        if here is None and asked is None:
            raise ModelError(f"{path} takes pictures of any {name}: set {name} in {WHERE}")
        if None not in {here, asked} and here != asked:
            raise ModelError(f"{path} takes a {name} of {here} pixels, but {WHERE} says {asked}")
        size.append(asked or here or 0)
    if max(size) > SIDE_MAX:
        raise ModelError(f"{path} takes {size[1]} x {size[0]} pixels, over {SIDE_MAX} a side")
    return size[0], size[1]


def _preprocess(graph: _Graph, table: OnnxModelSettings) -> Preprocess:
    """Return how pictures are brought to size; colours are this classifier's own business."""
    return Preprocess(
        graph.height,
        graph.width,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation=table.interpolation,
        resize_mode=table.resize,
        fill=table.fill,
    )


def _description(graph: _Graph, table: OnnxModelSettings) -> str:
    """Return all that the scores depend on beside file and policy, as sorted JSON."""
    plain = table.model_dump(mode="json", exclude={"precision"})
    plain |= {"height": graph.height, "width": graph.width, "windows": [RATIO, WINDOWS_MAX]}
    plain |= {"input": graph.input, "output": graph.output}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))
