"""Remembers the pipelines that this instance scanned with, so that its old verdicts keep sense.

Decides which one is in use: of the settings in force, the one last used, together with those of
its family, which are other precisions of the very same model (a GPU scans the backlog in bf16, a
server new pictures in fp32). Every other is retired: its flags are remembered, its clean verdicts
count no more (design, "Deciding", step 4). Without this, a process that has not loaded the model
would not know how to read our own verdicts.

One that scored in shadow stays in shadow, also when shadow mode ends, until scans are made with
it. One that ever decided here never goes into shadow: what it flagged would be forgotten.
"""

import json
from collections.abc import Mapping

from sqlalchemy import Connection, select

from cache.judgement import PipelineState, PipelineTerms
from cache.storage.rows import insert_into
from cache.storage.tables import own_pipelines

IN_SHADOW = "shadow "
"""What the settings of a pipeline in shadow begin with; no others do."""


def remember_own_pipeline(
    connection: Connection,
    pipeline: str,
    *,
    settings: str,
    thresholds: Mapping[str, int],
    now: int,
    family: str = "",
) -> None:
    """Note that `pipeline` (hex id) scans here now; `settings` names model and policy.

    `family` is equal for pipelines that differ in nothing but precision, "" for one of its own.
    """
    values = _values(settings, thresholds, now) | {"family": family}
    connection.execute(
        insert_into(connection, own_pipelines)
        .values(pipeline=pipeline, **values)
        .on_conflict_do_update(index_elements=["pipeline"], set_=values)
    )


def load_own_pipelines(connection: Connection, settings: str) -> dict[str, PipelineTerms]:
    """Return the terms of every pipeline of ours.

    Those in use by `settings` are default, those that only ever scored in shadow are in shadow,
    all others are retired.
    """
    rows = connection.execute(select(own_pipelines).order_by(own_pipelines.c.used)).all()
    of_settings = [row for row in rows if row.settings == settings]
    last = of_settings[-1] if of_settings else None
    in_use = {
        row.pipeline
        for row in of_settings
        if last and (row is last or (row.family and row.family == last.family))
    }
    return {
        row.pipeline: PipelineTerms(
            json.loads(row.thresholds),
            PipelineState.DEFAULT if row.pipeline in in_use else _past_state(row.settings),
        )
        for row in rows
    }


def refresh_thresholds(
    connection: Connection, pipeline: str, thresholds: Mapping[str, int]
) -> None:
    """Note by which thresholds a pipeline in use is read now: retired, it is read by its last."""
    plain = json.dumps(dict(thresholds), sort_keys=True)
    connection.execute(
        own_pipelines.update().where(own_pipelines.c.pipeline == pipeline).values(thresholds=plain)
    )


def remember_shadow_pipeline(
    connection: Connection,
    pipeline: str,
    *,
    settings: str,
    thresholds: Mapping[str, int],
    now: int,
) -> bool:
    """Note that `pipeline` scores in shadow now; False, and nothing noted, if it decided here."""
    values = _values(IN_SHADOW + settings, thresholds, now)
    connection.execute(
        insert_into(connection, own_pipelines)
        .values(pipeline=pipeline, **values)
        .on_conflict_do_update(
            index_elements=["pipeline"],
            set_=values,
            where=own_pipelines.c.settings.startswith(IN_SHADOW, autoescape=True),
        )
    )
    noted = select(own_pipelines.c.settings).where(own_pipelines.c.pipeline == pipeline)
    return str(connection.execute(noted).scalar_one()).startswith(IN_SHADOW)


def shadow_in_use(connection: Connection, settings: str) -> str | None:
    """Return the pipeline (hex id) that last scored in shadow by `settings`."""
    return connection.execute(
        select(own_pipelines.c.pipeline)
        .where(own_pipelines.c.settings == IN_SHADOW + settings)
        .order_by(own_pipelines.c.used.desc(), own_pipelines.c.pipeline)
    ).scalar()


def _values(settings: str, thresholds: Mapping[str, int], now: int) -> dict[str, object]:
    plain = json.dumps(dict(thresholds), sort_keys=True)
    return {"settings": settings, "thresholds": plain, "used": now}


def _past_state(settings: str) -> PipelineState:
    return PipelineState.SHADOW if settings.startswith(IN_SHADOW) else PipelineState.RETIRED
