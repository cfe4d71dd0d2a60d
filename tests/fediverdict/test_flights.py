"""One task for all who ask for the same: whoever leaves, whatever fails, nothing is made up."""

import asyncio
from typing import Any

import pytest

from fediverdict.errors import NotDecided
from fediverdict.flights import Flights
from tests.waiting import happens


def new() -> Flights[Any, Any]:
    return Flights()


async def test_the_task_runs_once_and_the_first_is_told_that_it_was():
    flights, runs, go = new(), [], asyncio.Event()

    async def work():
        runs.append(1)
        await go.wait()
        return "done"

    asked = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*asked) == [("done", True), ("done", False), ("done", False)]
    assert (runs, list(flights)) == ([1], [])


async def test_different_keys_share_nothing():
    flights = new()

    async def work():
        return object()

    one, other = await asyncio.gather(flights.join(1, work), flights.join(2, work))
    assert one[0] is not other[0]


async def test_all_may_leave_and_the_task_goes_on():
    flights, ended, go = new(), asyncio.Event(), asyncio.Event()

    async def work():
        await go.wait()
        ended.set()

    asked = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    assert all(one.cancelled() for one in asked)
    go.set()
    await happens(ended.wait())


async def test_a_failure_is_told_to_all_and_the_next_starts_anew():
    flights, failures = new(), [ValueError("once")]

    async def work():
        await asyncio.sleep(0)
        if failures:
            raise failures.pop()
        return "done"

    asked = [flights.join("key", work) for _ in range(2)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in told] == [ValueError] * 2
    assert await flights.join("key", work) == ("done", True)


async def test_closing_tells_those_who_wait_that_nothing_was_decided():
    flights = new()
    asked = asyncio.create_task(flights.join("key", asyncio.Event().wait))
    await asyncio.sleep(0)
    flights.close()
    with pytest.raises(NotDecided):
        await asked
    with pytest.raises(NotDecided):
        await flights.join("key", asyncio.Event().wait)


async def test_one_who_is_cancelled_while_closing_is_cancelled():
    flights = new()
    asked = asyncio.create_task(flights.join("key", asyncio.Event().wait))
    await asyncio.sleep(0)
    flights.close()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
