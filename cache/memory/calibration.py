"""Remembers that a pipeline was tried on harmless pictures: when, on how many, with what result.

Decides whether a calibration covers what is in force now: the same rules, read by thresholds that
were tried. Scoring and counting are left to whoever calibrates, and what may be done without a
calibration to whoever acts. Nothing of the pictures is kept.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, select

from cache.storage.rows import insert_into
from cache.storage.tables import notes

NOTE = "calibration "
"""What the names of these notes begin with; the pipeline's id follows."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one run on harmless pictures found."""

    pipeline: str  # hex id
    policy: str  # hex digest
    calibrated: int  # epoch seconds
    pictures: int  # different files that were scored
    rules: Mapping[str, str]  # name -> text, as tried
    thresholds: Mapping[str, Mapping[str, int]]  # strictness -> label -> threshold, as tried
    flagged: Mapping[str, Mapping[str, int]]  # strictness -> rule -> pictures it was true for

    def covers(self, rules: Mapping[str, str], thresholds: Mapping[str, int]) -> bool:
        """Tell whether just these rules were tried by just these thresholds."""
        return dict(rules) == dict(self.rules) and any(
            dict(tried) == dict(thresholds) for tried in self.thresholds.values()
        )


def record_calibration(connection: Connection, found: Calibration) -> None:
    """Keep a pipeline's calibration in the place of the one before; wants a write transaction."""
    value = json.dumps(asdict(found), sort_keys=True)
    connection.execute(
        insert_into(connection, notes)
        .values(name=NOTE + found.pipeline, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def calibration_of(connection: Connection, pipeline_id: str) -> Calibration | None:
    """Return the last calibration of a pipeline (hex id), None where there was none."""
    noted = select(notes.c.value).where(notes.c.name == NOTE + pipeline_id)
    value = connection.execute(noted).scalar_one_or_none()
    return None if value is None else Calibration(**json.loads(value))


def is_calibrated(connection: Connection, pipeline_id: str) -> bool:
    """Tell whether a pipeline was ever calibrated; `Calibration.covers` asks for more."""
    return calibration_of(connection, pipeline_id) is not None
