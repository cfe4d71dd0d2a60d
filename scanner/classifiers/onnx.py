"""The classifier of a file that `fediverdict model export` made: no torch, no tokenizer.

The file holds the image tower, the policy's texts and all arithmetic up to the labels'
probabilities; it takes uint8 pixels. With it goes an `ExportCard`: of which pipeline it is, and
the digest of the graph. A card for another model or policy, or one that does not fit the graph,
is refused: scores must never go by another pipeline's name. The card is not signed, so it
guards against mistakes and damage; whoever can write the file can write the card.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scanner.classifiers.classifier import Described, to_score
from scanner.classifiers.onnx_file import OnnxFile
from scanner.classifiers.onnx_session import OnnxSession, read_whole
from scanner.classifiers.pipeline import FIELDS, pipeline_id
from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.classifiers.weights import BUNDLED, Checkpoint, Download, find_checkpoint
from scanner.classifiers.windows import RATIO, WINDOWS_MAX
from scanner.errors import ModelError
from scanner.policy import Name, Policy
from scanner.settings import HexDigest, ScannerSettings, batch_of

CARD = "fediverdict"
"""The key of the card in the file's metadata."""
INPUT, OUTPUT = "pixels", "scores"
SHIPPED = BUNDLED
"""Where the export of the bundled model by the policy `test` lies."""
CHUNK = 1 << 20
AGAIN = "make it again with `fediverdict model export`"


class ExportCard(BaseModel):
    """What a file of ours says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: Annotated[str, Field(min_length=1, max_length=500)]
    """`scanner.model` of the export; of a path its last part."""
    pipeline: Annotated[dict[str, str], Field(min_length=len(FIELDS), max_length=len(FIELDS))]
    labels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    """In the order of the output's columns."""
    graph_bytes: Annotated[int, Field(ge=1)]
    """Length of the file before the card."""
    graph_sha256: HexDigest


class OnnxClassifier(Described):
    """Scores pixels by the labels of one policy with one exported file."""

    def __init__(self, session: OnnxSession, card: ExportCard, batch: int) -> None:
        self._session, self._batch = session, batch
        preprocess = preprocess_of(card, session.path)
        _check_graph(session, card, preprocess)
        super().__init__(card.pipeline["architecture"], card.labels, card.pipeline, preprocess)

    @classmethod
    def load(cls, path: Path, settings: ScannerSettings, policy: Policy) -> "OnnxClassifier":
        """Return the classifier of a file, if it is of the settings' model and policy.

        Raises ModelError.
        """
        file = read_whole(path)
        card = read_card(path, file.metadata)
        check_digest(path, card, file)
        _check_policy(path, card, policy)
        _check_precision(path, card, settings)
        if path != Path(settings.model).expanduser():
            _check_model(path, card, settings)
        return cls(OnnxSession(path, settings), card, batch_of(settings, has_device=False))

    @property
    def provider(self) -> str:
        """What of ONNX Runtime runs it, for people."""
        return self._session.provider

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry of (n, height, width, 3) uint8, in order."""
        found: list[dict[str, int]] = []
        for start in range(0, len(pixels), self._batch):
            found.extend(self._score(pixels[start : start + self._batch]))
        return found

    def _score(self, pixels: Pixels) -> list[dict[str, int]]:
        rows = self._session.run(OUTPUT, {INPUT: pixels})
        if rows.shape != (len(pixels), len(self.labels)):
            raise ModelError(f"{self._session.path} gave {rows.shape} for {len(pixels)} inputs")
        return [dict(zip(self.labels, map(to_score, row), strict=True)) for row in rows.tolist()]


def model_name(settings: ScannerSettings) -> str:
    """Return the model's name in cards and file names: of a path its last part."""
    path = Path(settings.model).expanduser()
    is_path = path.is_absolute() or path.exists()
    return path.name if is_path and path.name else settings.model


def export_name(settings: ScannerSettings, policy: Policy, precision: str) -> str:
    """Return the file name of an export: model, digest of the policy, precision."""
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", model_name(settings)).strip("-.")
    return f"{model}-{policy.digest()[:12]}-{precision}.onnx"


def find_export(settings: ScannerSettings, policy: Policy) -> Path | None:
    """Return the exported file of the settings' model by a policy; None if there is none.

    `scanner.onnx` names it, else it is the one of its precision in the exports folder, or the one
    that comes with the program. Raises ModelError where `scanner.onnx` names what is not there.
    """
    if settings.onnx:
        if not settings.onnx.is_file():
            raise ModelError(f"scanner.onnx is {settings.onnx}, which is no file; {AGAIN}")
        return settings.onnx
    name = export_name(settings, policy, precision_wanted(settings))
    places = [settings.exports_folder, *([SHIPPED] if settings.model == "bundled" else [])]
    return next((folder / name for folder in places if (folder / name).is_file()), None)


def precision_wanted(settings: ScannerSettings) -> str:
    """Return the precision of the export to look for: int8 only where it is asked for."""
    return "int8" if settings.precision == "int8" else "fp32"


def read_card(path: Path, metadata: dict[str, str]) -> ExportCard:
    """Return the card among a file's metadata; raises ModelError."""
    if CARD not in metadata:
        raise ModelError(
            f"{path} was not made by `fediverdict model export`: use one that was, or describe "
            "the file in [scanner.onnx_model] and name it in scanner.model (docs/classifiers.md)"
        )
    try:
        card = ExportCard.model_validate_json(metadata[CARD])
        pipeline_id(card.pipeline)
    except (ValidationError, ValueError) as error:
        raise ModelError(f"what {path} says of itself cannot be read; {AGAIN}") from error
    return card


def check_digest(path: Path, card: ExportCard, file: OnnxFile) -> None:
    """Raise ModelError unless the graph's bytes are those that were exported."""
    if file.metadata_start != card.graph_bytes or _digest(path, card) != card.graph_sha256:
        raise ModelError(f"{path} is damaged, or was changed since its export; {AGAIN}")


def _digest(path: Path, card: ExportCard) -> str:
    """Return the hex SHA-256 of a file before its card.

    Read and not mapped: a file that is overwritten meanwhile must not end the process.
    """
    sha256, left = hashlib.sha256(), card.graph_bytes
    try:
        with path.open("rb") as file:
            while left and (part := file.read(min(left, CHUNK))):
                sha256.update(part)
                left -= len(part)
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    return sha256.hexdigest()


def preprocess_of(card: ExportCard, path: Path) -> Preprocess:
    """Return the preprocessing that the pipeline's description names; raises ModelError."""
    try:
        settings = json.loads(card.pipeline["preprocessing"])
        windows = settings.pop("windows")
        found = Preprocess.of(settings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} does not say what its input looks like; {AGAIN}") from error
    if windows != [RATIO, WINDOWS_MAX]:
        raise ModelError(f"{path} is of a version that cut long pictures otherwise; {AGAIN}")
    return found


def _check_policy(path: Path, card: ExportCard, policy: Policy) -> None:
    if card.pipeline["policy"] != policy.digest() or set(card.labels) != set(policy.labels):
        raise ModelError(
            f"{path} was exported for another policy than {policy.name}, or before its labels or "
            f"prompts were changed; {AGAIN}"
        )


def _check_precision(path: Path, card: ExportCard, settings: ScannerSettings) -> None:
    here = card.pipeline["precision"]
    if settings.precision not in {"auto", here}:
        raise ModelError(
            f"{path} computes in {here}, but scanner.precision is {settings.precision}: make them "
            "agree (`fediverdict model export`, with or without --int8)"
        )


def _check_model(path: Path, card: ExportCard, settings: ScannerSettings) -> None:
    """Raise ModelError unless the file is of the model that the settings name.

    Where the checkpoint is on this machine, its digest counts; else its name must do.
    """
    checkpoint = _checkpoint_here(settings)
    wanted = checkpoint.sha256 if checkpoint else settings.weights_sha256
    weights = card.pipeline["weights"]
    if wanted and wanted != weights:
        raise ModelError(
            f"{path} was exported from weights with the SHA-256 {weights}, but those of "
            f"scanner.model have {wanted}; {AGAIN}"
        )
    if not checkpoint and card.model != model_name(settings):
        raise ModelError(
            f"{path} was exported from {card.model}, but scanner.model is {settings.model}; {AGAIN}"
        )


class _Elsewhere(Exception):
    """The checkpoint would have to be downloaded."""


def _checkpoint_here(settings: ScannerSettings) -> Checkpoint | None:
    """Return the checkpoint if it lies on this machine under a name of its own."""
    if settings.model != "bundled" and not Path(settings.model).expanduser().exists():
        return None
    try:
        return find_checkpoint(settings, download=_not_now)
    except _Elsewhere:
        return None


def _not_now(*_: object) -> Download:
    raise _Elsewhere


def _check_graph(session: OnnxSession, card: ExportCard, preprocess: Preprocess) -> None:
    wanted = (None, preprocess.height, preprocess.width, 3)
    has_input = session.inputs == {INPUT: ("tensor(uint8)", wanted)}
    kind, shape = session.outputs.get(OUTPUT, ("", ()))
    has_output = kind == "tensor(float)" and shape[1:] in {(len(card.labels),), (None,)}
    same_card = read_card(session.path, session.metadata) == card
    if not (has_input and has_output and same_card):
        raise ModelError(f"what {session.path} says of itself does not fit its graph; {AGAIN}")
