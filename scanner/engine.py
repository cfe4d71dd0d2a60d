"""Loads a classifier by settings; torch enters the process only when this is called."""

from importlib.util import find_spec
from typing import Literal

from scanner.classifier import Classifier
from scanner.errors import ModelError
from scanner.pipeline import describe, preprocessing_text, whole_picture
from scanner.policy import Policy
from scanner.settings import ScannerSettings
from scanner.weights import BUNDLED, bundled_checkpoint, folder_config

Purpose = Literal["serve", "scan"]
"""What scans: a server that waits for pictures, or a backlog."""

NO_TORCH = "the scanner needs torch and open_clip: pip install 'fediverdict[clip]'"


def is_installed() -> bool:
    """Tell whether torch and open_clip can be imported, without importing them."""
    return all(find_spec(name) is not None for name in ("torch", "open_clip"))


def load_classifier(
    settings: ScannerSettings,
    policy: Policy,
    purpose: Purpose = "serve",  # noqa: ARG001
) -> Classifier:
    """Return the classifier that the settings name, ready to score by the policy.

    Loads the weights, which takes seconds, and downloads them where they are not here yet.
    Raises ModelError.
    """
    try:
        from scanner.clip import ClipClassifier  # noqa: PLC0415  torch takes seconds to import
    except ModuleNotFoundError as error:
        raise ModelError(f"{NO_TORCH} (no module named {error.name})") from error
    return ClipClassifier.load(settings, policy)


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
