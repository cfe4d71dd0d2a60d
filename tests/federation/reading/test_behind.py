"""One document is stored while the next is fetched: in order, and never lost sight of."""

import asyncio

import pytest

from federation.reading.behind import Behind


class Writer:
    """Writes as slowly as it is told to, and remembers what it did."""

    def __init__(self):
        self.done = []
        self.may_write = asyncio.Event()

    async def write(self, name):
        await self.may_write.wait()
        if name == "bad":
            raise ValueError(name)
        self.done.append(name)
        return name


async def test_the_next_is_fetched_while_one_is_written():
    writer = Writer()
    async with Behind[str]() as storing:
        assert await storing.put(writer.write("first")) is None
        assert writer.done == []  # and here the next is fetched
        writer.may_write.set()
        assert await storing.put(writer.write("second")) == "first"
        assert await storing.settle() == "second"
        assert await storing.settle() is None


async def test_leaving_waits_for_the_write():
    writer = Writer()
    writer.may_write.set()
    async with Behind[str]() as storing:
        await storing.put(writer.write("only"))
    assert writer.done == ["only"]


async def test_leaving_by_an_error_waits_as_well():
    writer = Writer()
    writer.may_write.set()
    with pytest.raises(KeyError):
        async with Behind[str]() as storing:
            await storing.put(writer.write("only"))
            raise KeyError
    assert writer.done == ["only"]


async def test_a_write_that_failed_is_told_and_none_follows_it():
    writer = Writer()
    writer.may_write.set()
    with pytest.raises(ValueError, match="bad"):
        async with Behind[str]() as storing:
            await storing.put(writer.write("bad"))
            await storing.put(writer.write("after it"))
    assert writer.done == []


async def test_a_write_that_failed_while_something_else_did_is_noted():
    writer = Writer()
    writer.may_write.set()
    with pytest.raises(KeyError) as caught:
        async with Behind[str]() as storing:
            await storing.put(writer.write("bad"))
            raise KeyError
    assert "bad" in caught.value.__notes__[0]


async def test_a_failed_last_write_is_told_on_leaving():
    writer = Writer()
    writer.may_write.set()
    with pytest.raises(ValueError, match="bad"):
        async with Behind[str]() as storing:
            await storing.put(writer.write("bad"))
