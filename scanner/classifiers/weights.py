"""Finds the checkpoint that the settings name, and holds it to its digest. No torch here.

Four forms of `scanner.model`: `bundled`; a folder with `open_clip_config.json` and weights,
open_clip's own form; a checkpoint file, with `scanner.architecture`; and
`ARCHITECTURE/PRETRAINED`, which open_clip knows and `fetching.py` brings. Files of strangers are
never unpickled: safetensors, or torch's `weights_only` loading.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.classifiers.fetching import checked_sha256, file_sha256
from scanner.errors import ModelError
from scanner.settings import ScannerSettings

BUNDLED = Path(__file__).parents[1] / "models" / "tiny"
CONFIG = "open_clip_config.json"
FOLDER_WEIGHTS = "open_clip_model.safetensors"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
FORMS = (
    "use bundled, a folder with open_clip_config.json, a checkpoint file together with "
    "scanner.architecture, or ARCHITECTURE/PRETRAINED such as ViT-L-14/openai"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this disk and how open_clip builds its model."""

    path: Path
    sha256: str
    architecture: str
    """As the pipeline description names it."""
    open_clip_name: str
    folder: bool = False
    """Whether open_clip loads weights and preprocessing from the folder by itself."""
    preprocessing: Mapping[str, Any] | None = None
    quick_gelu: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """What was brought for a pretrained tag."""

    path: Path
    preprocessing: Mapping[str, Any]
    quick_gelu: bool


Downloader = Callable[[str, str], Download]
"""(architecture, pretrained) -> Download; raises ModelError."""


def find_checkpoint(settings: ScannerSettings, download: Downloader) -> Checkpoint:
    """Return the checkpoint of the settings, its digest computed and checked.

    What is not here yet is downloaded. Raises ModelError.
    """
    checkpoint = _find(settings, download)
    pinned = settings.weights_sha256
    if pinned and pinned != checkpoint.sha256:
        raise ModelError(
            f"{checkpoint.path} has the SHA-256 {checkpoint.sha256}, but scanner.weights_sha256 "
            f"is {pinned}: it is another file, or damaged; fetch it again or mend the setting"
        )
    return checkpoint


def bundled_checkpoint() -> Checkpoint:
    """Return the tiny model that comes with the program; raises ModelError if it is missing."""
    return _folder(BUNDLED)


def _find(settings: ScannerSettings, download: Downloader) -> Checkpoint:
    if settings.model == "bundled":
        return bundled_checkpoint()
    path = Path(settings.model).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path, settings.architecture)
    architecture, slash, pretrained = settings.model.partition("/")
    if not (architecture and slash and pretrained) or "/" in pretrained or "." in architecture:
        raise ModelError(f"scanner.model {settings.model!r} is no file and no model; {FORMS}")
    found = download(architecture, pretrained)
    name = architecture.removesuffix("-quickgelu")
    quick = found.quick_gelu or name != architecture
    return Checkpoint(
        path=found.path,
        sha256=checked_sha256(found.path),
        architecture=f"{name}-quickgelu" if quick else name,
        open_clip_name=architecture,
        preprocessing=found.preprocessing,
        quick_gelu=quick,
    )


def _folder(path: Path) -> Checkpoint:
    """Return the checkpoint of a folder; its architecture is its name and its config's digest."""
    config = json.dumps(folder_config(path)["model_cfg"], sort_keys=True).encode()
    digest = hashlib.sha256(config).hexdigest()[:12]
    weights = path / FOLDER_WEIGHTS
    return Checkpoint(
        path=weights,
        sha256=file_sha256(weights),
        architecture=f"{path.resolve().name}-{digest}",
        open_clip_name=f"local-dir:{path}",
        folder=True,
    )


def folder_config(path: Path) -> dict[str, Any]:
    """Return the open_clip configuration of a folder; raises ModelError."""
    try:
        config = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path / CONFIG}: {error}") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise ModelError(f"{path / CONFIG} has no model_cfg: it is no open_clip configuration")
    return config


def _file(path: Path, architecture: str | None) -> Checkpoint:
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path} is no checkpoint: its name ends with none of {SUFFIXES}")
    if architecture is None:
        raise ModelError(f"scanner.model is the file {path}: set scanner.architecture as well")
    return Checkpoint(path, file_sha256(path), architecture, architecture)
