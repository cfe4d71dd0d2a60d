"""The open_clip classifier: loads a model, encodes a policy, scores pixels by it.

A label's probability is independent of the other labels: the softmax runs over the label's
prompts and the policy's control prompts, and the label has its prompts' share. Texts are
encoded once, at loading and in fp32, and the text tower is given up then; an entry of the pixels
passes the image tower once for all labels. The image tower computes in the precision of the
pipeline, everything before and behind it in fp32. Preprocessing is open_clip's own for the model,
but never crops (`preprocess.py`). How work gets to the device is `torch_run.py`'s.
"""

import ctypes
import gc
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional

from scanner.classifiers.classifier import Described, to_score
from scanner.classifiers.download import Progress
from scanner.classifiers.fetching import Tag, fetch_weights
from scanner.classifiers.lean_import import builtin_config, open_clip_for
from scanner.classifiers.pipeline import describe, preprocessing_text, whole_picture
from scanner.classifiers.preprocess import Pixels, Preprocess
from scanner.classifiers.torch_run import DTYPES, Runner, Sizes, device_of, precision_of, settle
from scanner.classifiers.weights import (
    Checkpoint,
    Download,
    Downloader,
    find_checkpoint,
    folder_config,
)
from scanner.errors import DownloadError, ModelError
from scanner.policy import Policy
from scanner.settings import ScannerSettings, batch_of

SENTENCES = 64
"""Texts encoded at once; a policy may have thousands."""
SMALL_WEIGHTS = 20_000_000
"""An image tower of fewer, the bundled one among them, gains nothing from halves and compiling."""
HUB_FILE = "open_clip_pytorch_model.bin"
"""What open_clip looks for in a repository where a tag names no file."""
HUB_SAFE_FILE = "open_clip_model.safetensors"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipParts:
    """What scores are computed from."""

    model: Any
    """Has `encode_image` alone, once its texts are encoded."""
    prompts: dict[str, torch.Tensor]
    """Label -> its encoded prompts, (n, features), each of length 1."""
    controls: torch.Tensor
    scale: float


class ClipClassifier(Described):
    """Scores pixels by the labels of one policy with one open_clip model."""

    def __init__(
        self, model: Any, checkpoint: Checkpoint, policy: Policy, settings: ScannerSettings
    ) -> None:
        device = next(model.parameters()).device
        small = sum(value.numel() for value in model.visual.parameters()) < SMALL_WEIGHTS
        precision = precision_of(settings.precision, device, small)
        preprocessing = whole_picture(model.visual.preprocess_cfg)
        preprocess, labels = Preprocess.of(preprocessing), tuple(policy.labels)
        self._parts = _encode_policy(model, checkpoint, policy)
        scorer = Scorer(self._parts, preprocess, DTYPES[precision]).to(device).eval()
        gains = device.type == "cuda" and not small
        compiled = gains if settings.compile == "auto" else settings.compile
        has_device = device.type != "cpu"
        batch = batch_of(settings, has_device=has_device)
        sizes = Sizes(batch, preprocess.height, preprocess.width, len(labels))
        self._runner = Runner(scorer, sizes, device, compiled)
        pipeline = describe(
            architecture=checkpoint.architecture,
            policy=policy.digest(),
            precision=precision,
            preprocessing=preprocessing_text(preprocessing),
            weights=checkpoint.sha256,
        )
        name = checkpoint.architecture
        super().__init__(name, labels, pipeline, preprocess, has_device=has_device)

    @classmethod
    def load(
        cls, settings: ScannerSettings, policy: Policy, progress: Progress | None = None
    ) -> "ClipClassifier":
        """Return the classifier of the settings; raises ModelError."""
        settle(settings)
        device = device_of(settings.device)
        checkpoint = fetch(settings, progress)
        model = _build(checkpoint).to(device).eval()
        classifier = cls(model, checkpoint, policy, settings)
        del model
        _give_back_memory(device)
        return classifier

    @property
    def is_compiled(self) -> bool:
        """Whether torch compiled the image tower."""
        return self._runner.is_compiled

    def parts(self) -> ClipParts:
        """Return the image tower and the encoded texts, for an export."""
        return self._parts

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry of (n, height, width, 3) uint8, in order.

        Safe to call from threads; two at once keep a GPU busy.
        """
        rows = self._runner.score(pixels)
        return [dict(zip(self._labels, map(to_score, row), strict=True)) for row in rows]


class Scorer(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
    """Pixels to probabilities: normalising, image tower, each label's share against controls."""

    def __init__(self, parts: ClipParts, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = parts.model
        self.model.visual.to(dtype).to(memory_format=torch.channels_last)
        self._dtype, self._scale = dtype, parts.scale
        self._lengths = [len(prompts) for prompts in parts.prompts.values()]
        self.register_buffer("_texts", torch.cat([*parts.prompts.values(), parts.controls]).T)
        for name, colour in (("_mean", preprocess.mean), ("_std", preprocess.std)):
            self.register_buffer(name, torch.tensor(colour).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (n, labels) fp32 for (n, height, width, 3) uint8."""
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        features = self.model.encode_image(images.to(self._dtype))
        features = functional.normalize(features.float(), dim=-1)
        logits = self._scale * (features @ self._texts)
        *labels, controls = logits.split([*self._lengths, logits.shape[1] - sum(self._lengths)], 1)
        return torch.stack([_share(prompts, controls) for prompts in labels], 1)


def _share(prompts: torch.Tensor, controls: torch.Tensor) -> torch.Tensor:
    """Return the prompts' share against the controls for each entry, shape (n,)."""
    return torch.cat([prompts, controls], 1).softmax(dim=-1)[:, : prompts.shape[1]].sum(dim=-1)


def _encode_policy(model: Any, checkpoint: Checkpoint, policy: Policy) -> ClipParts:
    """Encode the policy's texts, then take the text tower off the model."""
    tokenizer = _open_clip_of(checkpoint).get_tokenizer(checkpoint.open_clip_name)
    prompts = {
        name: _encode(model, tokenizer, policy.sentences(label.prompts))
        for name, label in policy.labels.items()
    }
    controls = _encode(model, tokenizer, policy.sentences(policy.controls))
    scale = float(model.logit_scale.detach().exp())
    _drop_text_tower(model)
    return ClipParts(model, prompts, controls, scale)


def _encode(model: Any, tokenizer: Any, sentences: list[str]) -> torch.Tensor:
    """Return the sentences as vectors of length 1, (n, features) fp32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        found = [
            model.encode_text(tokenizer(sentences[start : start + SENTENCES]).to(device)).float()
            for start in range(0, len(sentences), SENTENCES)
        ]
        return functional.normalize(torch.cat(found), dim=-1)


def _drop_text_tower(model: Any) -> None:
    """Take from the model whatever is not its image tower: a third of its weights, or more."""
    own = (
        *model.named_children(),
        *model.named_parameters(recurse=False),
        *model.named_buffers(recurse=False),
    )
    for name, _ in own:
        if name != "visual":
            delattr(model, name)


def _give_back_memory(device: torch.device) -> None:
    """Return what loading took and no longer needs to the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc alone keeps freed memory, and has this
        ctypes.CDLL(None).malloc_trim(0)


def fetch(settings: ScannerSettings, progress: Progress | None = None) -> Checkpoint:
    """Return the checkpoint of the settings, downloaded if it is not here; raises ModelError."""
    return find_checkpoint(settings, _downloader(settings, progress))


def _downloader(settings: ScannerSettings, progress: Progress | None) -> Downloader:
    def bring(architecture: str, pretrained: str) -> Download:
        tag = known_tag(architecture, pretrained)
        try:
            path = fetch_weights(settings, tag, progress)
        except DownloadError as error:
            raise DownloadError(
                f"{error}. Or fetch the file elsewhere, set scanner.model to its path and "
                f"scanner.architecture to {architecture}"
            ) from error
        return Download(path, tag.preprocessing, tag.quick_gelu)

    return bring


def known_tag(architecture: str, pretrained: str) -> Tag:
    """Return what open_clip knows of a pretrained tag; raises ModelError for an unknown one."""
    open_clip = open_clip_for({})
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if architecture not in open_clip.list_models() or pretrained not in tags:
        known = f"its tags are {', '.join(tags)}" if tags else "no such architecture"
        raise ModelError(f"open_clip knows no {architecture}/{pretrained}: {known}")
    found = open_clip.get_pretrained_cfg(architecture, pretrained)
    repository, _, name = str(found.get("hf_hub") or "").rpartition("/")
    file = name or HUB_FILE
    safe = HUB_SAFE_FILE if file == HUB_FILE else str(Path(file).with_suffix(".safetensors"))
    keys = ("mean", "std", "interpolation", "resize_mode")
    return Tag(
        repository=repository,
        files=(safe, file),
        url=str(found.get("url") or ""),
        preprocessing={key: found[key] for key in keys if found.get(key) is not None},
        quick_gelu=bool(found.get("quick_gelu")),
    )


def _open_clip_of(checkpoint: Checkpoint) -> ModuleType:
    """Return as much of open_clip as the checkpoint's model needs."""
    if checkpoint.folder:
        config: Mapping[str, Any] | None = folder_config(checkpoint.path.parent)["model_cfg"]
    else:
        config = builtin_config(checkpoint.open_clip_name)
    return open_clip_for(config)


def _build(checkpoint: Checkpoint) -> Any:
    """Return the model with its weights, in fp32; pickled code is never run."""
    path = None if checkpoint.folder else str(checkpoint.path)
    try:
        return _open_clip_of(checkpoint).create_model(
            checkpoint.open_clip_name,
            pretrained=path,
            precision="fp32",
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


def finds_gpu(device: str) -> bool:
    """Tell whether torch would use a GPU for this `scanner.device`; raises ModelError."""
    return str(device_of(device).type) != "cpu"
