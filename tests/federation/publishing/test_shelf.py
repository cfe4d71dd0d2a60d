"""Documents in memory: so many bytes, the oldest go first, and one is made once for all who ask."""

import asyncio
import threading

import pytest

from federation.errors import NotFound
from federation.publishing.shelf import MAKERS, Shelf
from tests.waiting import PATIENCE


class Maker:
    """Makes documents, and counts how often."""

    def __init__(self, size=10):
        self.size, self.made = size, 0

    def __call__(self):
        self.made += 1
        return bytes(self.size)


async def made_again(shelf, name):
    maker = Maker()
    await shelf.get(name, maker)
    return maker.made == 1


async def test_as_many_bytes_are_kept_as_allowed():
    shelf = Shelf(20)
    for name in ("a", "b"):
        await shelf.get(name, Maker())
    assert not await made_again(shelf, "a")
    assert not await made_again(shelf, "b")


async def test_past_them_what_was_asked_for_longest_ago_goes():
    shelf = Shelf(29)
    for name in ("a", "b", "a", "c"):
        await shelf.get(name, Maker())
    assert not await made_again(shelf, "a")
    assert not await made_again(shelf, "c")
    assert await made_again(shelf, "b")


@pytest.mark.parametrize(("limit", "is_kept"), [(10, True), (9, False), (0, False)])
async def test_a_document_larger_than_all_of_it_is_made_each_time(limit, is_kept):
    shelf = Shelf(limit)
    assert len(await shelf.get("a", Maker())) == 10
    assert await made_again(shelf, "a") is not is_kept


async def test_what_is_not_there_is_not_remembered():
    shelf = Shelf(20)
    with pytest.raises(NotFound):
        await shelf.get("a", lambda: None)
    assert await made_again(shelf, "a")


async def test_one_is_made_once_for_all_who_ask_and_whoever_leaves():
    shelf, maker = Shelf(20), Maker()
    asked = [asyncio.create_task(shelf.get("a", maker)) for _ in range(5)]
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.gather(*asked[1:])
    assert maker.made == 1


async def test_only_so_many_are_made_at_a_time():
    """Makers wait for each other: so many at once get through, and one more would not."""
    shelf, running, most, lock = Shelf(1_000), 0, 0, threading.Lock()
    together = threading.Barrier(MAKERS)

    def make():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(timeout=PATIENCE)
        with lock:
            running -= 1
        return b"x"

    await asyncio.gather(*(shelf.get(str(number), make) for number in range(4 * MAKERS)))
    assert most == MAKERS
