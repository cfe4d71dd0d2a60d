"""Lets a blocking iterator run in threads, some items at a time, and its items come to the loop."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

T = TypeVar("T")


async def batches(iterator: Iterator[T], size: int) -> AsyncIterator[list[T]]:
    """Yield the iterator's items in lists of `size`, each taken in a thread."""
    while batch := await asyncio.to_thread(_take, iterator, size):
        yield batch


def _take(iterator: Iterator[T], size: int) -> list[T]:
    return list(itertools.islice(iterator, size))
