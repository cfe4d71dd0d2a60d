"""Remembers the pipelines that this instance scanned with, so that its old verdicts keep sense.

Decides which one is in use: of the settings in force, the one last used. Every other is retired:
its flags are remembered, its clean verdicts count no more (design, "Deciding", step 4). Without
this, a process that has not loaded the model would not know how to read our own verdicts.
"""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select

from cache.judgement import PipelineState, PipelineTerms
from cache.rows import insert_into
from cache.tables import own_pipelines


def remember_own_pipeline(
    connection: Connection,
    pipeline: str,
    *,
    settings: str,
    thresholds: Mapping[str, int],
    now: int,
) -> None:
    """Note that `pipeline` (hex id) scans here now; `settings` names model and policy."""
    values = {
        "settings": settings,
        "thresholds": json.dumps(dict(thresholds), sort_keys=True),
        "used": now,
    }
    connection.execute(
        insert_into(connection, own_pipelines)
        .values(pipeline=pipeline, **values)
        .on_conflict_do_update(index_elements=["pipeline"], set_=values)
    )


def load_own_pipelines(connection: Connection, settings: str) -> dict[str, PipelineTerms]:
    """Return the terms of every pipeline of ours: the one in use by `settings`, others retired."""
    rows = connection.execute(select(own_pipelines).order_by(own_pipelines.c.used)).all()
    in_use = next((row.pipeline for row in reversed(rows) if row.settings == settings), None)
    return {
        row.pipeline: PipelineTerms(
            json.loads(row.thresholds),
            PipelineState.DEFAULT if row.pipeline == in_use else PipelineState.RETIRED,
        )
        for row in rows
    }
