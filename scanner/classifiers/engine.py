"""Chooses what runs the model, and loads it; torch enters the process only where it is chosen.

`scanner.backend = "auto"`: a backlog (`scan`, `worker`) goes to torch where torch finds a GPU, all
else to ONNX Runtime where an exported file of model and policy is there, and to torch where none
is. A model that is a plugin or an ONNX file of another kind leaves nothing to choose. What is
missing is said before anything is loaded.
"""

import logging
import platform
import sys
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Literal, assert_never

from scanner.classifiers.classifier import Classifier
from scanner.classifiers.download import Progress
from scanner.classifiers.onnx import OnnxClassifier, export_name, find_export, precision_wanted
from scanner.classifiers.onnx_model import SUFFIX, OnnxModelClassifier
from scanner.classifiers.onnx_session import NO_ONNX, is_importable
from scanner.classifiers.pipeline import describe, preprocessing_text, whole_picture
from scanner.classifiers.plugins import PREFIX, load_plugin
from scanner.classifiers.weights import (
    BUNDLED,
    Checkpoint,
    bundled_checkpoint,
    folder_config,
)
from scanner.errors import ModelError, NotInstalled
from scanner.policy import Policy
from scanner.settings import ScannerSettings

Purpose = Literal["serve", "scan"]
"""What scans: a server that waits for pictures, or a backlog."""

NO_TORCH = "the scanner needs torch and open_clip: pip install 'fediverdict[clip]'"
NOTHING = "nothing here can run the model"
GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")
"""What stands in /dev where there is a GPU: NVIDIA's, AMD's, either under WSL."""

logger = logging.getLogger(__name__)


class Backend(Enum):
    """What runs the model."""

    TORCH = auto()  # an open_clip checkpoint
    EXPORT = auto()  # a file that `model export` made
    ONNX_MODEL = auto()  # any other ONNX file, by a table of the config
    PLUGIN = auto()  # code of another package


@dataclass(frozen=True, slots=True)
class Plan:
    """What would run the model, and the file of an export."""

    backend: Backend
    export: Path | None = None


def load_classifier(
    settings: ScannerSettings,
    policy: Policy,
    purpose: Purpose = "serve",
    progress: Progress | None = None,
) -> Classifier:
    """Return the classifier that the settings name, ready to score by the policy.

    Loads the weights, which takes seconds, and downloads them where they are not here yet:
    `progress` is told of it, and may raise to end it. Raises ModelError.
    """
    plan = plan_of(settings, policy)
    if plan.backend is Backend.EXPORT and _prefers_gpu(settings, purpose):
        plan = Plan(Backend.TORCH)
    match plan.backend:
        case Backend.TORCH:
            _say_what_is_faster(settings, policy)
            return _load_clip(settings, policy, progress)
        case Backend.EXPORT:
            assert plan.export is not None  # noqa: S101  plan_of gave it
            return OnnxClassifier.load(plan.export, settings, policy)
        case Backend.ONNX_MODEL:
            return OnnxModelClassifier.load(settings, policy)
        case Backend.PLUGIN:
            return load_plugin(settings, policy)
        case _:
            assert_never(plan.backend)


def plan_of(settings: ScannerSettings, policy: Policy) -> Plan:
    """Return what would run the model, importing none of it; a GPU may yet change that to torch.

    Raises NotInstalled where nothing can, ModelError for settings that cannot be.
    """
    if settings.model.endswith(SUFFIX):
        return _plan_of_file(settings)
    if settings.onnx_model:
        raise ModelError(f"[scanner.onnx_model] is for an ONNX file, and {settings.model} is none")
    if settings.model.startswith(PREFIX):
        return Plan(Backend.PLUGIN)
    if settings.backend == "torch" or _is_for_torch(settings):
        return _torch_or_error(settings, NO_TORCH)
    export = find_export(settings, policy)
    if export and is_importable("onnxruntime"):
        return Plan(Backend.EXPORT, export)
    if settings.backend == "onnx":
        raise NotInstalled(NO_ONNX if export else _no_export(settings, policy))
    return _torch_or_error(settings, _nothing(settings, policy, export))


def what_is_missing(settings: ScannerSettings, policy: Policy) -> str | None:
    """Return what to install or export before anything can be judged; None if nothing.

    A setting that is wrong is no matter of this: loading the model says so.
    """
    try:
        plan_of(settings, policy)
    except NotInstalled as error:
        return str(error)
    except ModelError:
        return None
    return None


def is_installed(settings: ScannerSettings, policy: Policy) -> bool:
    """Tell whether something here can run the model, importing none of it."""
    return what_is_missing(settings, policy) is None


def fetch_weights(settings: ScannerSettings, progress: Progress) -> Checkpoint:
    """Download the weights that the settings name, if they are not here; raises ModelError.

    `progress` is told the bytes done and, where known, the bytes in all.
    """
    if not is_importable("open_clip"):
        raise NotInstalled(NO_TORCH)
    from scanner.classifiers.clip import fetch  # noqa: PLC0415  torch takes seconds to import

    return fetch(settings, progress)


def has_gpu(device: str, devices: Path = Path("/dev")) -> bool:
    """Tell whether the machine looks as if torch found a GPU for `scanner.device`."""
    if device != "auto":
        return device != "cpu"
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return any(next(devices.glob(pattern), None) for pattern in GPU_FILES)


def _plan_of_file(settings: ScannerSettings) -> Plan:
    path = Path(settings.model).expanduser()
    if settings.backend == "torch":
        raise ModelError(f'torch cannot run {path}: set scanner.backend to "auto" or "onnx"')
    if not path.is_file():
        raise ModelError(f"scanner.model is {path}, which is no file")
    if not is_importable("onnxruntime"):
        raise NotInstalled(NO_ONNX)
    return Plan(Backend.ONNX_MODEL) if settings.onnx_model else Plan(Backend.EXPORT, path)


def _is_for_torch(settings: ScannerSettings) -> bool:
    """Tell whether what is asked for, a GPU or half precision, is torch's, and torch is here."""
    gpu = settings.device in {"cuda", "mps"} and settings.precision != "int8"
    half = settings.precision in {"bf16", "fp16"}
    return settings.backend == "auto" and (gpu or half) and _has_torch()


def _torch_or_error(settings: ScannerSettings, problem: str) -> Plan:
    if not _has_torch():
        raise NotInstalled(problem)
    if settings.precision == "int8":
        raise ModelError(
            "torch does not compute in int8: set scanner.backend to auto, and make the file with "
            "`fediverdict model export --int8`"
        )
    return Plan(Backend.TORCH)


def _has_torch() -> bool:
    return is_importable("torch") and is_importable("open_clip")


def _prefers_gpu(settings: ScannerSettings, purpose: Purpose) -> bool:
    """Tell whether a backlog is to go to torch on a GPU, which only torch knows for sure."""
    if (
        settings.backend != "auto"
        or settings.model.endswith(SUFFIX)
        or settings.precision == "int8"
    ):
        return False
    if purpose != "scan" or not has_gpu(settings.device) or not _has_torch():
        return False
    from scanner.classifiers.clip import finds_gpu  # noqa: PLC0415  torch takes seconds to import

    return finds_gpu(settings.device)


def _load_clip(settings: ScannerSettings, policy: Policy, progress: Progress | None) -> Classifier:
    try:
        from scanner.classifiers.clip import ClipClassifier  # noqa: PLC0415  torch takes seconds to import

        return ClipClassifier.load(settings, policy, progress)
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{NO_TORCH} (no module named {error.name})") from error


def _say_what_is_faster(settings: ScannerSettings, policy: Policy) -> None:
    """Say once, where a CPU runs torch for want of a file, how to come by the file."""
    if settings.backend == "torch" or has_gpu(settings.device):
        return
    level = logging.WARNING if is_importable("onnxruntime") else logging.INFO
    logger.log(level, "torch is used: %s", _no_export(settings, policy))


def _no_export(settings: ScannerSettings, policy: Policy) -> str:
    precision = precision_wanted(settings)
    path = settings.exports_folder / export_name(settings, policy, precision)
    command = f"fediverdict model export{' --int8' if precision == 'int8' else ''}"
    return f"there is no {path}; `{command}` makes it, where torch is installed"


def _nothing(settings: ScannerSettings, policy: Policy, export: Path | None) -> str:
    if export:
        return f"{NOTHING}: pip install 'fediverdict[onnx]', or, for torch, 'fediverdict[clip]'"
    return (
        f"{NOTHING}: pip install 'fediverdict[clip]' for torch; or 'fediverdict[onnx]' and bring "
        f"an export: {_no_export(settings, policy)}"
    )


def bundled_pipeline(policy: Policy) -> dict[str, str]:
    """Return the pipeline description of the bundled model by a policy, without torch.

    Raises ModelError if the model's files are missing.
    """
    checkpoint = bundled_checkpoint()
    return describe(
        architecture=checkpoint.architecture,
        policy=policy.digest(),
        precision="fp32",
        preprocessing=preprocessing_text(whole_picture(folder_config(BUNDLED)["preprocess_cfg"])),
        weights=checkpoint.sha256,
    )
