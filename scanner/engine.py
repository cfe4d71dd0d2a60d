"""Loads a classifier by settings; torch enters the process only when this is called."""

from scanner.classifier import Classifier
from scanner.errors import ModelError
from scanner.policy import Policy
from scanner.settings import ScannerSettings

NO_TORCH = "the scanner needs torch and open_clip: pip install 'fediverdict[clip]'"


def load_classifier(settings: ScannerSettings, policy: Policy) -> Classifier:
    """Return the classifier that the settings name, ready to score by the policy.

    Loads the weights, which takes seconds, and downloads them where they are not here yet.
    Raises ModelError.
    """
    try:
        from scanner.clip import ClipClassifier  # noqa: PLC0415  torch takes seconds to import
    except ModuleNotFoundError as error:
        raise ModelError(f"{NO_TORCH} (no module named {error.name})") from error
    return ClipClassifier.load(settings, policy)
