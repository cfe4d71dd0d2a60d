"""What bounds a pass: bytes in flight, pictures a second, order."""

import asyncio

import pytest
from pydantic import ValidationError

from fediverdict.config import Config, ScanSettings
from fediverdict.flow import ByteBudget, InOrder, Pace
from scanner.limits import Limits
from tests.waiting import happens


async def test_the_sum_of_bytes_reaches_the_limit_and_never_passes_it():
    budget, most = ByteBudget(100), 0

    async def hold(size):
        nonlocal most
        async with budget.hold(size):
            most = max(most, budget.held)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(hold(size) for size in [40, 60, 1, 100, 99, 2, 33, 50, 51] * 5))
    assert most == 100
    assert budget.held == 0


async def test_a_large_one_is_not_overtaken_for_ever():
    budget, order = ByteBudget(10), []

    async def hold(size):
        async with budget.hold(size):
            order.append(size)
            await asyncio.sleep(0)

    await asyncio.gather(hold(6), hold(10), *(hold(1) for _ in range(5)))
    assert order[:2] == [6, 10]


async def test_who_gives_up_waiting_holds_nothing_and_holds_nobody_back():
    budget = ByteBudget(10)
    async with budget.hold(8):
        waiting = asyncio.create_task(_held(budget, 10))
        behind = asyncio.create_task(_held(budget, 2))
        await asyncio.sleep(0.01)
        assert not behind.done()
        waiting.cancel()
        await happens(behind)
    assert budget.held == 0


async def test_who_is_cancelled_when_its_turn_has_come_gives_it_back():
    budget = ByteBudget(10)
    async with budget.hold(10):
        waiting = asyncio.create_task(_held(budget, 10))
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.held == 0


def test_the_largest_picture_must_fit_into_what_may_be_in_flight():
    limits = Limits(image_bytes=1_000)
    assert Config(limits=limits, scan=ScanSettings(bytes_in_flight=1_000))
    with pytest.raises(ValidationError, match="bytes_in_flight"):
        Config(limits=limits, scan=ScanSettings(bytes_in_flight=999))


async def _held(budget, size):
    async with budget.hold(size):
        pass


async def test_a_rate_lets_through_so_many_a_second_and_zero_all(monkeypatch):
    loop, slept, sleep = asyncio.get_running_loop(), [], asyncio.sleep

    def noted(seconds):
        slept.append(seconds)
        return sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    started = loop.time()
    pace = Pace(50)
    await asyncio.gather(*(pace.wait() for _ in range(11)))
    assert loop.time() - started >= 0.18
    assert len(slept) == 11
    assert all(seconds < turn / 50 + 1e-6 for turn, seconds in enumerate(slept))
    await asyncio.gather(*(Pace(0).wait() for _ in range(1_000)))
    assert len(slept) == 11


async def test_the_cursor_stays_before_the_first_that_is_not_done():
    order = InOrder(10)
    first, second, third = [await order.enter(cursor) for cursor in "abc"]
    assert order.reached() is None
    second.done = third.done = True
    assert order.reached() is None
    first.done = True
    assert order.reached() == "c"
    assert order.reached() is None


async def test_the_window_holds_its_size_and_not_one_more():
    order = InOrder(3)
    places = [await order.enter(cursor) for cursor in "abc"]
    places[1].done = places[2].done = True
    assert order.reached() is None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(order.enter("d"), 0.05)
    places[0].done = True
    assert order.reached() == "c"
    await happens(order.enter("d"))
