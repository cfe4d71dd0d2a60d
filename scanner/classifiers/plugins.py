"""Classifiers that other packages bring, by entry points; checked, since they are not ours.

`scanner.model = "plugin:NAME"` takes the entry point NAME of the group `fediverdict.classifiers`:
a factory `(settings, policy) -> Classifier`. What it gives is checked when it is loaded and at
every batch: a plugin that raises, or gives what is no score, is a ModelError and never a clean
picture.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scanner.classifiers.classifier import SCORE_MAX, Classifier, Described
from scanner.classifiers.pipeline import pipeline_id
from scanner.classifiers.preprocess import RESAMPLING, SIDE_MAX, Pixels, Preprocess
from scanner.errors import ModelError
from scanner.policy import Policy
from scanner.settings import ScannerSettings

GROUP = "fediverdict.classifiers"
PREFIX = "plugin:"
DESCRIPTION_CHARACTERS_MAX = 10_000
"""Of one of the five strings: they travel to every peer."""


def load_plugin(settings: ScannerSettings, policy: Policy) -> Classifier:
    """Return the classifier of the plugin that `scanner.model` names; raises ModelError."""
    name = settings.model.removeprefix(PREFIX)
    found = [one for one in entry_points(group=GROUP) if one.name == name]
    if len(found) != 1:
        raise ModelError(_not_one(name, found))
    try:
        classifier = found[0].load()(settings, policy)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the plugin {name} cannot be loaded: {_said(error)}") from error
    return CheckedClassifier(name, classifier, policy)


class CheckedClassifier(Described):
    """A classifier of somebody else, held to the contract."""

    def __init__(self, name: str, inner: Any, policy: Policy) -> None:
        self._plugin, self._inner = name, inner
        try:
            super().__init__(
                *(str(inner.name), tuple(inner.labels), dict(inner.pipeline), inner.preprocess),
                has_device=getattr(inner, "has_device", False) is True,
            )
        except Exception as error:
            raise self._error(f"is no classifier: {_said(error)}") from error
        self._check_labels(policy)
        self._check_pipeline(policy)
        self._check_preprocess()

    def score(self, pixels: Pixels) -> list[dict[str, int]]:
        """Return label -> 0..10000 for each entry; raises ModelError, and nothing else."""
        if not len(pixels):
            return []
        try:
            found = [dict(scores) for scores in self._inner.score(pixels)]
        except ModelError:
            raise
        except Exception as error:
            raise self._error(f"failed: {_said(error)}") from error
        if len(found) != len(pixels):
            raise self._error(f"gave {len(found)} scores for {len(pixels)} pictures")
        return [self._checked(scores) for scores in found]

    def _checked(self, scores: Mapping[Any, Any]) -> dict[str, int]:
        if set(scores) != set(self._labels):
            raise self._error(f"scored {', '.join(map(str, scores)) or 'nothing'}")
        for label, score in scores.items():
            if type(score) is not int or not 0 <= score <= SCORE_MAX:
                raise self._error(f"gave {score!r} for {label}, which is no integer 0..{SCORE_MAX}")
        return {label: scores[label] for label in self._labels}

    def _check_labels(self, policy: Policy) -> None:
        if set(self._labels) != set(policy.labels) or len(self._labels) != len(policy.labels):
            raise self._error(
                f"scores {', '.join(map(str, self._labels)) or 'nothing'}, but the policy "
                f"{policy.name} has {', '.join(policy.labels)}: use a policy with its labels"
            )

    def _check_pipeline(self, policy: Policy) -> None:
        try:
            pipeline_id(self._pipeline)
        except ValueError as error:
            raise self._error(f"describes its pipeline wrongly: {error}") from error
        if self._pipeline["policy"] != policy.digest():
            raise self._error("must put policy.digest() into its pipeline")
        for field, value in self._pipeline.items():
            if not 0 < len(value) <= DESCRIPTION_CHARACTERS_MAX:
                raise self._error(
                    f"has {len(value)} characters for {field} of its pipeline; "
                    f"1 to {DESCRIPTION_CHARACTERS_MAX} are allowed"
                )

    def _check_preprocess(self) -> None:
        found = self._preprocess
        if not isinstance(found, Preprocess):
            raise self._error("has a preprocess that is no Preprocess")
        sizes = all(
            type(side) is int and 0 < side <= SIDE_MAX for side in (found.height, found.width)
        )
        modes = found.interpolation in RESAMPLING and found.resize_mode in {"squash", "longest"}
        if not (sizes and modes):
            raise self._error(f"wants {found}, which cannot be done")

    def _error(self, what: str) -> ModelError:
        return ModelError(f"the plugin {self._plugin} {what}")


def _not_one(name: str, found: list[EntryPoint]) -> str:
    if found:
        brought = ", ".join(one.dist.name for one in found if one.dist)
        return f"several packages bring a classifier {name} ({brought}): remove all but one"
    known = ", ".join(sorted(one.name for one in entry_points(group=GROUP))) or "none"
    return f"no installed package brings a classifier {name}; there is {known}"


def _said(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
