"""The rows of a page, from types to wire: cells in the order of the feed's columns.

In the clean feed `issued` is rounded down to the day, so that a page does not tell when its
instance met a picture.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, Final

from cache.verdict import Basis, Feed
from federation.context import RULE_PREFIX
from federation.wire.row import ATTEST, BASIS_NAMES, COLUMNS, RETRACT, Attestation, Retraction, Row

DAY_SECONDS: Final = 86_400


class RowWriter:
    """Writes the rows of one page; `labels` and `pipelines` are the tables they refer to."""

    def __init__(self, feed: Feed, epoch: str, rows: Sequence[Row]) -> None:
        attestations = [row for row in rows if isinstance(row, Attestation)]
        self.labels = sorted({label for row in attestations for label in row.scores})
        self.pipelines = sorted({row.pipeline for row in attestations if row.pipeline is not None})
        self._feed = feed
        self._epoch = epoch

    def cells(self, row: Row) -> list[Any]:
        """Return the cells of one row."""
        named = self._retraction(row) if isinstance(row, Retraction) else self._attestation(row)
        return [named.get(name) for name in COLUMNS[self._feed]]

    def _retraction(self, row: Retraction) -> dict[str, Any]:
        here = row.epoch == self._epoch
        return {"op": RETRACT, "target": row.seq if here else [row.epoch, row.seq]}

    def _attestation(self, row: Attestation) -> dict[str, Any]:
        return {
            "op": ATTEST,
            "sha256": _base64url(row.sha256),
            "content": _base64url(row.content),
            "basis": BASIS_NAMES[row.basis],
            "issued": self._issued(row.issued),
            "expires": row.expires,
            "pdq": _base64url(row.pdq),
            "quality": row.pdq_quality,
            **(self._model(row) if row.basis is Basis.MODEL else _human(row)),
        }

    def _model(self, row: Attestation) -> dict[str, Any]:
        if row.pipeline is None:
            raise ValueError("an attestation on basis MODEL names its pipeline")
        return {
            "pipeline": self.pipelines.index(row.pipeline),
            "scores": [row.scores.get(label) for label in self.labels],
        }

    def _issued(self, issued: int) -> int:
        return issued - issued % DAY_SECONDS if self._feed is Feed.CLEAN else issued


def _human(row: Attestation) -> dict[str, Any]:
    return {"finding": [f"{RULE_PREFIX}{row.rule}", str(row.finding)]}


def _base64url(data: bytes | None) -> str | None:
    return None if data is None else urlsafe_b64encode(data).decode("ascii").rstrip("=")
