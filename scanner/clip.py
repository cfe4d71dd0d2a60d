"""The open_clip classifier: the one file that imports torch, open_clip and torchvision.

A label's probability is independent of the other labels: the softmax runs over the label's
prompts and the policy's control prompts, and the label has its prompts' share. Texts are
encoded once, at loading; an entry of the pixels passes the image tower once for all labels.
Preprocessing is open_clip's own for the model, but never crops (`preprocess.py`). Everything is
computed in fp32. Safe to call from threads.
"""

import logging
import threading
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch.nn import functional

from scanner.classifier import to_score
from scanner.errors import ModelError
from scanner.pipeline import describe, pipeline_id, preprocessing_text, whole_picture
from scanner.policy import Policy
from scanner.preprocess import Pixels, Preprocess
from scanner.settings import ScannerSettings
from scanner.weights import Checkpoint, Download, find_checkpoint

PRECISION = "fp32"
logger = logging.getLogger(__name__)


class ClipClassifier:
    """Scores pixels by the labels of one policy with one open_clip model."""

    def __init__(self, model: Any, checkpoint: Checkpoint, policy: Policy, batch: int) -> None:
        self._model, self._batch = model, batch
        self._device = next(model.parameters()).device
        preprocessing = whole_picture(model.visual.preprocess_cfg)
        self._preprocess = Preprocess.of(preprocessing)
        self._mean, self._std = (
            torch.tensor(colour, device=self._device).view(1, 3, 1, 1)
            for colour in (self._preprocess.mean, self._preprocess.std)
        )
        self._scale = float(model.logit_scale.detach().exp())
        self._lock = threading.Lock()
        self._labels = tuple(policy.labels)
        self._tokenizer = open_clip.get_tokenizer(checkpoint.open_clip_name)
        self._controls = self._encode(policy.sentences(policy.controls))
        self._prompts = {
            name: self._encode(policy.sentences(label.prompts))
            for name, label in policy.labels.items()
        }
        self._pipeline = describe(
            architecture=checkpoint.architecture,
            policy=policy.digest(),
            precision=PRECISION,
            preprocessing=preprocessing_text(preprocessing),
            weights=checkpoint.sha256,
        )

    @classmethod
    def load(cls, settings: ScannerSettings, policy: Policy) -> "ClipClassifier":
        """Return the classifier of the settings; raises ModelError."""
        if settings.threads:
            torch.set_num_threads(settings.threads)
        checkpoint = find_checkpoint(settings, download=_download)
        model = _build(checkpoint).to(_device(settings.device)).eval()
        return cls(model, checkpoint, policy, settings.batch)

    @property
    def name(self) -> str:
        """The architecture, for people."""
        return self._pipeline["architecture"]

    @property
    def pipeline(self) -> dict[str, str]:
        """The description of what produces the scores."""
        return dict(self._pipeline)

    @property
    def pipeline_id(self) -> str:
        """The hex id of that description."""
        return pipeline_id(self._pipeline)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the policy, in its order."""
        return self._labels

    @property
    def preprocess(self) -> Preprocess:
        """What the model's input looks like."""
        return self._preprocess

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry of (n, height, width, 3) uint8, in order."""
        found: list[dict[str, int]] = []
        for start in range(0, len(pixels), self._batch):
            found.extend(self._score(pixels[start : start + self._batch]))
        return found

    def _score(self, pixels: Pixels) -> list[dict[str, int]]:
        with self._lock, torch.inference_mode():
            there = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
            features = self._model.encode_image((there.float() / 255 - self._mean) / self._std)
            features = functional.normalize(features.float(), dim=-1)
            columns = [self._probability(features, self._prompts[name]) for name in self._labels]
        rows = torch.stack(columns, 1).cpu().tolist()
        return [dict(zip(self._labels, map(to_score, row), strict=True)) for row in rows]

    def _probability(self, features: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Return the prompts' share against the controls for each frame, shape (n,)."""
        logits = self._scale * features @ torch.cat([prompts, self._controls]).T
        return logits.softmax(dim=-1)[:, : len(prompts)].sum(dim=-1)

    def _encode(self, sentences: list[str]) -> torch.Tensor:
        tokens = self._tokenizer(sentences).to(self._device)
        with torch.inference_mode():
            return functional.normalize(self._model.encode_text(tokens).float(), dim=-1)


def _build(checkpoint: Checkpoint) -> Any:
    """Return the model with its weights, in fp32; pickled code is never run."""
    path = None if checkpoint.folder else str(checkpoint.path)
    try:
        return open_clip.create_model(
            checkpoint.open_clip_name,
            pretrained=path,
            precision=PRECISION,
            force_preprocess_cfg=dict(checkpoint.preprocessing or {}),
            force_quick_gelu=checkpoint.quick_gelu,
            require_pretrained=True,
            weights_only=True,
        )
    except Exception as error:
        logger.info("open_clip refused the checkpoint", exc_info=error)
        raise ModelError(
            f"{checkpoint.path} is no checkpoint of {checkpoint.architecture}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _device(name: str) -> torch.device:
    """Return the device of that name, or the best there is for `auto`; raises ModelError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, usable in there.items() if usable), "cpu")
    elif not there.get(name, True):
        raise ModelError(f"scanner.device is {name}, which torch does not find; use auto or cpu")
    return torch.device(name)


def _download(architecture: str, pretrained: str, folder: Path | None) -> Download:
    """Fetch a pretrained tag through open_clip, which shows progress and resumes."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if architecture not in open_clip.list_models() or pretrained not in tags:
        known = f"its tags are {', '.join(tags)}" if tags else "no such architecture"
        raise ModelError(f"open_clip knows no {architecture}/{pretrained}: {known}")
    settings = open_clip.get_pretrained_cfg(architecture, pretrained)
    try:
        path = open_clip.download_pretrained(settings, cache_dir=folder and str(folder))
    except Exception as error:
        raise ModelError(
            f"cannot download {architecture}/{pretrained}: {error}. Fetch the file elsewhere, and "
            f"set scanner.model to its path and scanner.architecture to {architecture}"
        ) from error
    keys = ("mean", "std", "interpolation", "resize_mode")
    preprocessing = {key: settings[key] for key in keys if settings.get(key) is not None}
    return Download(Path(path), preprocessing, bool(settings.get("quick_gelu")))
