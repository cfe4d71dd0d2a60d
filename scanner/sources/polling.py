"""Watching by listing again: the first failure is raised, a later one is told and tried again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from scanner.errors import SourceError
from scanner.sources.seen import Seen
from scanner.sources.source import Item, Report

Listing = Callable[[], AsyncIterator[Item]]


async def new_items(listing: AsyncIterator[Item], seen: Seen) -> AsyncIterator[Item]:
    """Yield what a whole listing holds that was not given yet."""
    async for item in listing:
        if seen.is_new(item):
            yield item
    seen.turn()


async def poll(
    first: AsyncIterator[Item], again: Listing, seen: Seen, seconds: float, report: Report
) -> AsyncGenerator[Item, None]:
    """Yield the new items of a first listing, then of another every `seconds`, without end."""
    async for item in new_items(first, seen):
        yield item
    while True:
        await asyncio.sleep(seconds)
        try:
            async for item in new_items(again(), seen):
                yield item
        except SourceError as error:
            report(f"{error}; trying again in {seconds:g} s")
