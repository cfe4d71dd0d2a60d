"""Documents are stored while the next are fetched: in order, together, and never lost sight of."""

import asyncio

import pytest

from federation.reading.behind import MOST, Behind


class Writer:
    """Writes as slowly as it is told to, and remembers what it did."""

    def __init__(self):
        self.done = []
        self.may_write = asyncio.Event()

    async def write(self, names):
        await self.may_write.wait()
        if "bad" in names:
            raise ValueError(names)
        self.done.append(list(names))
        return [name.upper() for name in names]


@pytest.fixture
def writer():
    return Writer()


async def test_the_next_are_fetched_while_one_is_written(writer):
    async with Behind(writer.write) as storing:
        assert await storing.put("a") == []
        assert await storing.put("b") == []
        assert writer.done == []  # and here the next is fetched
        writer.may_write.set()
        assert await storing.settle() == ["A", "B"]
        assert await storing.settle() == []


async def test_those_that_wait_are_written_together_up_to_a_number(writer):
    names = [str(number) for number in range(1 + 2 * MOST)]
    async with Behind(writer.write) as storing:
        for name in names[:MOST]:
            assert await storing.put(name) == []
        asyncio.get_running_loop().call_soon(writer.may_write.set)
        told = await storing.put(names[MOST])  # now as many wait as may
        assert told == ["0"]
        for name in names[MOST + 1 :]:
            told += await storing.put(name)
        told += await storing.settle()
    assert told == names
    assert writer.done[:2] == [["0"], names[1 : MOST + 1]]
    assert max(map(len, writer.done)) <= MOST
    assert [name for some in writer.done for name in some] == names


async def test_what_is_done_is_told_with_the_next(writer):
    writer.may_write.set()
    async with Behind(writer.write) as storing:
        await storing.put("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await storing.put("b") == ["A"]


@pytest.mark.parametrize("error", [None, KeyError])
async def test_leaving_waits_for_all_writes(writer, error):
    async def leave():
        async with Behind(writer.write) as storing:
            await storing.put("a")
            await storing.put("b")
            asyncio.get_running_loop().call_soon(writer.may_write.set)
            if error is not None:
                raise error

    if error is None:
        await leave()
    else:
        with pytest.raises(error):
            await leave()
    assert writer.done == [["a"], ["b"]]


async def test_a_write_that_failed_is_told_and_none_follows_it(writer):
    writer.may_write.set()
    with pytest.raises(ValueError, match="bad"):
        async with Behind(writer.write) as storing:
            await storing.put("bad")
            await storing.put("after it")
            await storing.settle()
    assert writer.done == []


async def test_of_several_that_fail_those_before_the_faulty_one_are_kept(writer):
    names = [str(number) for number in range(1, MOST)]
    with pytest.raises(ValueError, match="bad"):
        async with Behind(writer.write) as storing:
            await storing.put("0")
            asyncio.get_running_loop().call_soon(writer.may_write.set)
            for name in (*names, "bad", "after it"):  # those up to the bad one together
                await storing.put(name)
    assert writer.done == [["0"], *([name] for name in names)]


async def test_a_write_that_failed_while_something_else_did_is_noted(writer):
    writer.may_write.set()
    with pytest.raises(KeyError) as caught:
        async with Behind(writer.write) as storing:
            await storing.put("bad")
            raise KeyError
    assert "bad" in caught.value.__notes__[0]


async def test_a_failed_last_write_is_told_on_leaving(writer):
    writer.may_write.set()
    with pytest.raises(ValueError, match="bad"):
        async with Behind(writer.write) as storing:
            await storing.put("bad")


async def test_whoever_is_cancelled_leaves_once_all_is_written(writer):
    async def turn():
        async with Behind(writer.write) as storing:
            await storing.put("a")
            await storing.settle()

    task = asyncio.create_task(turn())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    writer.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writer.done == [["a"]]
