"""Scores one decoded picture: chunk by chunk, until all of it was seen or a rule is broken.

An animation that breaks a rule needs no further look: the verdict says how many of its frames
were seen, and its near code is that of the first frame found bad: the one that a copy would be
recognised by. A picture of one frame is always seen as a whole, and gives its decoder back before
its last windows are scored. A pipeline in shadow scores the same picture afterwards, as a whole;
its failure harms nobody, a server's pictures do not wait until it is loaded, and one that cannot
be loaded is not tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from fediverdict.scanning import Scanner
from scanner.classifiers.classifier import Classifier, combine
from scanner.decoding.pool import Opened
from scanner.errors import DecoderFailed, OverLimit, Undecodable

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
        self._loading: asyncio.Task[None] | None = None  # of the shadow's model

    @property
    def is_loaded(self) -> bool:
        """Whether pictures wait for no model. A server's never do for the one in shadow."""
        return self._scanner.classifier is not None and not (
            self._shadow is not None
            and self._shadow.classifier is None
            and self._shadow.purpose == "scan"
        )

    async def load(self) -> None:
        """Load what pictures wait for; raises ModelError for the model that decides."""
        await self._scanner.load()
        if not self.is_loaded:
            await self._load_shadow()

    async def _load_shadow(self) -> None:
        try:
            if self._shadow is not None:
                await self._shadow.load()
        except Exception as error:  # noqa: BLE001  whatever it is, it is on trial
            logger.warning("nothing is scored in shadow until the next start: %s", error)
            self._shadow = None

    async def score(self, opened: Opened) -> Scored:
        """Return the scores that decide."""
        classifier = await self._scanner.load()
        moves = opened.facts.frames_total > 1
        keeps = self._shadow is not None or moves
        rows: list[dict[str, int]] = []
        frames: list[int] = []
        chunks = opened.chunks(classifier.preprocess, self._scanner.batch)
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.last and not keeps:
                    opened.give_back()
                rows += await self._scanner.score(chunk.pixels)
                frames += chunk.frames
                if moves and self._breaks(combine(rows), classifier.pipeline_id):
                    break
        seen = opened.facts.frames_seen
        if not chunk.last:  # of the last frame there may be views left
            seen = max(1, min(len(set(frames)), seen - 1))
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
        try:
            return await opened.near_code(first) if first else None
        except (DecoderFailed, Undecodable, OverLimit) as error:
            logger.warning("a flagged animation is known by its first frame alone: %s", error)
            return None

    async def score_in_shadow(self, opened: Opened) -> Scored | None:
        """Return the scores of the pipeline in shadow, None where there is none yet or it fails."""
        shadow = self._shadow
        if shadow is None:
            return None
        if shadow.classifier is None:
            self._loading = self._loading or asyncio.create_task(self._load_shadow())
            return None
        try:
            classifier = shadow.classifier
            rows: list[dict[str, int]] = []
            async for chunk in opened.chunks(classifier.preprocess, shadow.batch):
                rows += await shadow.score(chunk.pixels)
        except Exception as error:  # noqa: BLE001  whatever it is, it is on trial
            logger.warning("the pipeline in shadow scores nothing: %s", error)
            return None
        return Scored(combine(rows), classifier, opened.facts.frames_seen)
