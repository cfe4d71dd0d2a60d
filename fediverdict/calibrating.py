"""Calibrates: scores a folder of pictures known to be harmless, and counts what would be flagged.

Nothing is stored of the pictures, no verdict, no sighting, and nothing is published: what is kept
is the sums. The same bytes count once, the test card not at all. Decides, too, whether an
instance may do more than report (`is_report_only`).
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection

from cache.judgement import PipelineState, PipelineTerms
from cache.memory.calibration import Calibration, calibration_of
from cache.testcard import is_test_card
from fediverdict.config import BUNDLED
from fediverdict.judgement import Judgements
from scanner.calibrate import smallest_factor
from scanner.classifiers.classifier import Classifier, combine
from scanner.classifiers.preprocess import Pixels
from scanner.decoding.shown import read_shown
from scanner.errors import OverLimit, ScannerError, Undecodable
from scanner.limits import Limits
from scanner.policy import STRICTNESSES, needs_calibration, shifted
from scanner.sources.folder import list_folder, read_item

LISTED = "listed"
"""The thresholds that `[pipelines.ID]` gives our own pipeline; they stand instead of the dial."""


class Calibrating:
    """One run over one folder; holds the sums, and the names of what would be flagged."""

    def __init__(
        self,
        judgements: Judgements,
        classifier: Classifier,
        limits: Limits,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.judgements, self.classifier = judgements, classifier
        self.labels = tuple(judgements.policy.labels)
        self.thresholds = _thresholds(judgements, classifier.pipeline_id)
        self.counts: Counter[str] = Counter()
        self.flagged: dict[str, list[tuple[str, list[str]]]] = {s: [] for s in self.thresholds}
        """By strictness, the keys of the pictures that would be flagged, and the rules."""
        self._limits, self._report = limits, report
        self._seen: set[bytes] = set()
        self._scores = array("H")  # picture by picture, in the order of `labels`

    @property
    def pictures(self) -> int:
        """How many different pictures were scored."""
        return len(self._scores) // len(self.labels)

    def run(self, folder: Path, batch: int) -> Iterator[None]:
        """Score the folder, `batch` windows or more at a time; gives None after each file.

        Whatever stops it, the sums hold what was scored until then. Raises SourceError when the
        folder itself cannot be listed, before the first.
        """
        waiting: list[tuple[str, Pixels]] = []
        for item in list_folder(folder, self._problem):
            if (pixels := self._pixels(folder, item.key)) is not None:
                waiting.append((item.key, pixels))
            if sum(len(pixels) for _, pixels in waiting) >= batch:
                self._score(waiting)
                waiting = []
            yield
        self._score(waiting)
        yield

    def flagged_by_rule(self, strictness: str) -> dict[str, int]:
        """Return rule -> the pictures it was true for at this strictness."""
        counts = Counter(rule for _, rules in self.flagged[strictness] for rule in rules)
        return {name: counts[name] for name in self.judgements.rules}

    def scores_of(self, label: str) -> list[int]:
        """Return the label's scores, one a picture."""
        return self._scores[self.labels.index(label) :: len(self.labels)].tolist()

    def suggested(self, target: float) -> tuple[Fraction, dict[str, int]] | None:
        """Return the smallest factor on the odds, and its thresholds, that keep to the target."""
        if not self.pictures:
            return None
        factor = smallest_factor(self._counts_at, self.pictures, target)
        return None if factor is None else (factor, self._shifted(factor))

    def result(self, now: int) -> Calibration:
        """Return what is to be remembered of the run."""
        return Calibration(
            self.classifier.pipeline_id,
            self.judgements.policy.digest(),
            now,
            self.pictures,
            self.judgements.rule_texts,
            self.thresholds,
            {name: self.flagged_by_rule(name) for name in self.thresholds},
        )

    def _pixels(self, folder: Path, key: str) -> Pixels | None:
        """Return the windows of a picture that is to be scored; None, counted, for what is not."""
        try:
            data = read_item(folder, key, self._limits.image_bytes)
            picture = read_shown(data, self._limits)
        except (Undecodable, OverLimit) as error:
            name = "undecodable" if isinstance(error, Undecodable) else "over-limit"
            self.counts[name] += 1
            return None
        except ScannerError as error:
            self._problem(f"{key}: {error}")
            return None
        found = picture.fingerprint
        if is_test_card(found.sha256, found.content):
            self.counts["test-card"] += 1
        elif found.sha256 in self._seen:
            self.counts["twice"] += 1
        else:
            self._seen.add(found.sha256)
            return self.classifier.preprocess.apply(picture.frames)
        return None

    def _problem(self, sentence: str) -> None:
        self.counts["unreadable"] += 1
        self._report(sentence)

    def _score(self, waiting: list[tuple[str, Pixels]]) -> None:
        if not waiting:
            return
        scores = iter(self.classifier.score(np.concatenate([pixels for _, pixels in waiting])))
        for key, pixels in waiting:
            self._add(key, combine([next(scores) for _ in pixels]))

    def _add(self, key: str, scores: Mapping[str, int]) -> None:
        self._scores.extend(scores[label] for label in self.labels)
        for strictness, thresholds in self.thresholds.items():
            truths = {name: scores[name] >= t for name, t in thresholds.items() if name in scores}
            if rules := self._true(truths):
                self.flagged[strictness].append((key, rules))

    def _true(self, truths: Mapping[str, bool]) -> list[str]:
        rules = self.judgements.rules.items()
        return [name for name, rule in sorted(rules) if rule.truth(truths.get)]

    def _shifted(self, factor: Fraction) -> dict[str, int]:
        balanced = self.judgements.policy.thresholds()
        return {label: shifted(threshold, factor) for label, threshold in balanced.items()}

    def _counts_at(self, factor: Fraction) -> list[int]:
        """Return for each rule how many pictures it is true for, all odds times `factor`."""
        thresholds = np.array([self._shifted(factor)[label] for label in self.labels])
        scores = np.frombuffer(self._scores, np.uint16).reshape(-1, len(self.labels))
        over = scores >= thresholds
        kinds, counts = np.unique(over, axis=0, return_counts=True)
        found = Counter(dict.fromkeys(self.judgements.rules, 0))
        for kind, count in zip(kinds, counts, strict=True):
            truths = dict(zip(self.labels, map(bool, kind), strict=True))
            found.update(dict.fromkeys(self._true(truths), int(count)))
        return list(found.values())


def is_report_only(connection: Connection, judgements: Judgements) -> bool:
    """Tell whether nothing may be deleted here yet, for want of a calibration.

    Each pipeline that scans here must have been calibrated with the rules and thresholds in force
    now. The bundled model with the shipped `test` policy needs none.
    """
    judgement = judgements.current(connection)
    in_use = [
        (name, terms)
        for name, terms in judgement.pipelines.items()
        if terms.state is PipelineState.DEFAULT
    ]
    if not in_use:  # nothing was scanned by these settings yet
        return True
    return any(_is_untried(connection, judgements, name, terms) for name, terms in in_use)


def _is_untried(
    connection: Connection, judgements: Judgements, name: str, terms: PipelineTerms
) -> bool:
    if _is_bundled_test(judgements, terms.thresholds):
        return False
    found = calibration_of(connection, name)
    return found is None or not found.covers(judgements.rule_texts, terms.thresholds)


def _is_bundled_test(judgements: Judgements, thresholds: Mapping[str, int]) -> bool:
    """Tell whether it is the bundled model, whatever runs it, by the policy as it is shipped."""
    policy = judgements.policy
    if needs_calibration(policy) or judgements.rule_texts != policy.rules:
        return False
    as_shipped = dict(thresholds) in [policy.thresholds(name) for name in STRICTNESSES]
    return as_shipped and judgements.config.scanner.model == BUNDLED


def _thresholds(judgements: Judgements, pipeline: str) -> dict[str, dict[str, int]]:
    """Return the thresholds to be tried: at each strictness, and those listed in the config."""
    tried: dict[str, Any] = {name: judgements.policy.thresholds(name) for name in STRICTNESSES}
    listed = judgements.config.pipelines.get(pipeline)
    return {**tried, LISTED: dict(listed.thresholds)} if listed else tried
