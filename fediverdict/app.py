"""The one place that joins the parts of `serve`: typed keys, one cleanup context a resource."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from cache.storage.database import Store
from federation.service import Federation
from fediverdict.api import Api
from fediverdict.asking import OriginAsker
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.parts import build_federation, build_judge, rule_texts
from fediverdict.problems import problems
from fediverdict.reviewing import Reviewer, build_reviewer, reviewing
from fediverdict.tally import CountTally
from scanner.errors import ModelError

logger = logging.getLogger(__name__)

JUDGE = web.AppKey("judge", Judge)
REVIEWER = web.AppKey("reviewer", Reviewer)
FEDERATION = web.AppKey("federation", Federation)
TALLY = web.AppKey("tally", CountTally)


def build_app(config: Config, store: Store) -> web.Application:
    """Return the application of one `serve` process over an open store."""
    app = web.Application(
        middlewares=[problems], client_max_size=config.federation.activity_bytes + 1
    )
    tally = app[TALLY] = CountTally(store)
    federation = app[FEDERATION] = build_federation(config, store, rule_texts(config))
    asker = OriginAsker(federation.asking, config.reuse)
    judge = app[JUDGE] = build_judge(config, store, tally=tally, asker=asker)
    app[REVIEWER] = build_reviewer(config, judge)
    api = Api(config, store, judge)
    app.add_routes(api.routes())
    app.on_shutdown.append(api.stop)
    app.on_cleanup.append(api.close)
    app.add_routes(federation.routes())
    app.cleanup_ctx.append(_counts)  # closed after all who answer
    app.cleanup_ctx.append(_decoders)
    app.cleanup_ctx.append(_reviews)
    app.cleanup_ctx.append(_federation_loops)
    if config.scanner.preload:
        app.cleanup_ctx.append(_model)
    return app


async def _federation_loops(app: web.Application) -> AsyncIterator[None]:
    await app[FEDERATION].start()
    yield
    await app[FEDERATION].stop()


async def _counts(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[TALLY].close()


async def _decoders(app: web.Application) -> AsyncIterator[None]:
    yield
    app[JUDGE].close()


async def _reviews(app: web.Application) -> AsyncIterator[None]:
    async with reviewing(app[REVIEWER]):
        yield


async def _model(app: web.Application) -> AsyncIterator[None]:
    """Load the model while the server answers already; what can be reused needs no model."""
    loading = asyncio.create_task(_load(app[JUDGE]))
    yield
    loading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loading


async def _load(judge: Judge) -> None:
    if judge.scanner is None:
        return
    try:
        await judge.scanner.load()
    except ModelError as error:
        logger.error("the model cannot be loaded, so nothing is scanned: %s", error)
