"""Work for many at once: bounded, each key in order, and a fault harms nobody else."""

import asyncio

from federation.turns import Turns


class Work:
    """Numbers that wait for keys; `at_once` tells the most keys that were worked for at once."""

    def __init__(self, waiting, a_turn=1):
        self.waiting = {key: list(items) for key, items in waiting.items()}
        self.a_turn = a_turn
        self.done, self.running, self.at_once = [], set(), 0
        self.faulty = set()

    async def due(self):
        return [key for key, items in self.waiting.items() if items]

    async def work(self, key):
        assert key not in self.running
        if key in self.faulty:
            raise RuntimeError(key)
        self.running.add(key)
        self.at_once = max(self.at_once, len(self.running))
        await asyncio.sleep(0)
        items = self.waiting[key]
        for _ in range(min(self.a_turn, len(items))):
            self.done.append((key, items.pop(0)))
        self.running.remove(key)
        return 1


async def test_everything_is_done_each_key_in_order():
    work = Work({key: range(5) for key in "abc"})
    assert await Turns(2, 1.0).run(work.due, work.work) == 15
    for key in "abc":
        assert [number for who, number in work.done if who == key] == [0, 1, 2, 3, 4]


async def test_so_many_are_worked_for_at_once_and_no_more():
    for at_once in (1, 3):
        work = Work({str(key): [0] for key in range(10)})
        await Turns(at_once, 1.0).run(work.due, work.work)
        assert work.at_once == at_once


async def test_whoever_had_the_last_turn_waits_for_the_others():
    work = Work({"much": range(3), "little": [0]})
    await Turns(1, 1.0).run(work.due, work.work)
    assert [key for key, _ in work.done] == ["much", "little", "much", "much"]


async def test_a_fault_of_one_is_left_alone_and_the_others_go_on():
    work = Work({"faulty": [0], "well": range(3)})
    work.faulty = {"faulty"}
    turns = Turns(1, 1.0)
    assert await turns.run(work.due, work.work) == 3
    work.faulty.clear()
    assert await turns.run(work.due, work.work) == 0  # not again at once
    assert await Turns(1, 1.0).run(work.due, work.work) == 1


async def test_new_keys_are_found_while_a_slow_one_is_worked_for():
    work, slow = Work({"slow": [0]}), asyncio.Event()

    async def work_slowly(key):
        if key == "slow":
            work.waiting["new"] = [0]
            work.waiting["slow"].clear()
            await slow.wait()
            return 1
        slow.set()
        return await work.work(key)

    assert await Turns(2, 0.01).run(work.due, work_slowly) == 2


async def test_a_fault_is_left_alone_only_so_long(monkeypatch):
    monkeypatch.setattr("federation.turns.FAULT_SECONDS", 0.05)
    work, turns = Work({"faulty": [0]}), Turns(1, 1.0)
    work.faulty = {"faulty"}
    assert await turns.run(work.due, work.work) == 0
    work.faulty.clear()
    await asyncio.sleep(0.06)
    assert await turns.run(work.due, work.work) == 1


async def test_stopping_ends_what_runs():
    work, ended = Work({"a": [0]}), []

    async def never(key):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)

    running = asyncio.create_task(Turns(1, 1.0).run(work.due, never))
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert ended == ["a"]
