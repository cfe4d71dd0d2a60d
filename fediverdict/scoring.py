"""Scores one decoded picture: chunk by chunk, until all of it was seen or a rule is broken.

An animation that breaks a rule needs no further look: the verdict says how many of its frames
were seen, and its near code is that of the first frame found bad: the one that a copy would be
recognised by. A picture of one frame gives its decoder back before it is scored. A pipeline in
shadow scores the same picture afterwards, as a whole; its failure harms nobody.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from fediverdict.scanning import Scanner
from scanner.classifiers.classifier import Classifier, combine
from scanner.decoding.pool import Opened
from scanner.errors import ModelError

logger = logging.getLogger(__name__)

Breaks = Callable[[Mapping[str, int], str], bool]
"""(scores, pipeline id) -> whether they break a rule of ours."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Each label's largest score over what was seen, by which pipeline, and how much was seen."""

    scores: Mapping[str, int]
    classifier: Classifier
    frames_seen: int
    near_code: tuple[bytes, int] | None = None
    """PDQ and quality of the frame of an animation that breaks a rule, None for the first one."""


class Scorer:
    """Scores by the pipeline that decides, and by the one in shadow if there is one."""

    def __init__(self, scanner: Scanner, shadow: Scanner | None, breaks: Breaks) -> None:
        self._scanner, self._shadow, self._breaks = scanner, shadow, breaks

    async def score(self, opened: Opened) -> Scored:
        """Return the scores that decide."""
        classifier = await self._scanner.load()
        keeps = self._shadow is not None or opened.facts.frames_total > 1
        rows: list[dict[str, int]] = []
        frames: list[int] = []
        chunks = opened.chunks(classifier.preprocess, self._scanner.batch)
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.last and not keeps:
                    opened.give_back()
                rows += await self._scanner.score(chunk.pixels)
                frames += chunk.frames
                if self._breaks(combine(rows), classifier.pipeline_id):
                    break
        seen = opened.facts.frames_seen if chunk.last else len(set(frames))
        code = await self._near_code(opened, rows, frames, classifier.pipeline_id)
        return Scored(combine(rows), classifier, seen, code)

    async def _near_code(
        self, opened: Opened, rows: list[dict[str, int]], frames: list[int], pipeline: str
    ) -> tuple[bytes, int] | None:
        """Return the code of the first frame that breaks a rule by itself, if it is a later one."""
        if opened.facts.frames_total == 1:
            return None
        bad = (
            frame for row, frame in zip(rows, frames, strict=True) if self._breaks(row, pipeline)
        )
        first = next(bad, 0)
        return await opened.near_code(first) if first else None

    async def score_in_shadow(self, opened: Opened) -> Scored | None:
        """Return the scores of the pipeline in shadow, None where there is none or it fails."""
        if self._shadow is None:
            return None
        try:
            classifier = await self._shadow.load()
            rows: list[dict[str, int]] = []
            async for chunk in opened.chunks(classifier.preprocess, self._shadow.batch):
                rows += await self._shadow.score(chunk.pixels)
        except ModelError as error:
            logger.warning("the pipeline in shadow scores nothing: %s", error)
            return None
        return Scored(combine(rows), classifier, opened.facts.frames_seen)
