"""`fediverdict serve`: HTTP API, ActivityPub and its loops, until it is told to stop."""

import asyncio
import gc
import logging
import signal

import click
from aiohttp import web

from fediverdict.app import build_app
from fediverdict.cli.context import Context, make_folder, pass_context
from fediverdict.errors import UsageError, UserError

ROOMS = ("fediverdict", "federation", "scanner", "cache")


@click.command()
@click.option("--verbose", is_flag=True, help="Log every request.")
@pass_context
def serve(context: Context, verbose: bool) -> None:
    """Answer for pictures, publish verdicts and follow peers."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    chatty = (*ROOMS, "aiohttp.access") if verbose else ROOMS
    for name in chatty:
        logging.getLogger(name).setLevel(logging.INFO)
    make_folder(context.config.instance.state_dir)
    asyncio.run(_serve(context))


async def _serve(context: Context) -> None:
    runner = web.AppRunner(build_app(context.config, context.store))
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    await runner.setup()
    try:
        await _listen(runner, context)
        gc.freeze()  # what was loaded stays: the collector need not look through it any more
        await stop.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, context: Context) -> None:
    http = context.config.http
    try:
        await web.TCPSite(runner, http.host, http.port).start()
    except OSError as error:
        raise UserError(
            f"cannot listen on {http.host}:{http.port}: {error.strerror}; "
            "choose another http.port, or stop what listens there"
        ) from error
    except UnicodeError as error:
        raise UsageError(f"http.host is no host: {http.host}") from error
    click.echo(f"{context.config.instance.name} listens on http://{http.host}:{http.port}")
