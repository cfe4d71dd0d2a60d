"""The progress line, times as people write them, and the waiting of a watch."""

import asyncio
import io

import pytest

from fediverdict.config import ScanSettings
from fediverdict.errors import UsageError
from fediverdict.moment import parse_moment
from fediverdict.progress import Progress, span
from fediverdict.watching import Watching
from scanner.errors import ModelError, SourceUnreachable
from tests.waiting import PATIENCE, happens


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_line_says_how_much_how_fast_and_how_long_still():
    now = [0.0]
    terminal = Terminal()
    progress = Progress("pictures", 1_000, about=True, stream=terminal, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 0.1
        progress.add()
    assert progress.line() == "100 of about 1,000 pictures, 10.0 a second, 1 min 30 s left"
    assert 10 <= terminal.getvalue().count("pictures") <= 20  # now and then, not each time


def test_nothing_is_drawn_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = Progress("pictures", stream=stream, clock=lambda: 9.0)
    progress.add()
    progress.clear()
    assert stream.getvalue() == ""


def test_an_estimate_that_was_too_low_is_not_shown():
    progress = Progress("pictures", 2, stream=io.StringIO())
    progress.add(3)
    assert " of " not in progress.line()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59, "59 s"), (3_600, "1 h 0 min"), (90_061, "1 d 1 h")]
)
def test_spans_are_said_in_two_units(seconds, said):
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90m", 94_600),
        ("12h", 56_800),
        ("1d", 13_600),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00", 3_600),
        ("1970-01-01T01:00+01:00", 0),
    ],
)
def test_moments_are_read(text, found):
    assert parse_moment(text, 100_000) == found


@pytest.mark.parametrize("text", ["", "yesterday", "-1d", "1.5d", "2026-13-01", "9999999999d"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(UsageError, match="no time"):
        parse_moment(text, 0)


async def test_a_source_that_is_away_is_waited_for_longer_each_time():
    said: list[str] = []
    calls, stop = [], asyncio.Event()

    async def away(stop):
        calls.append(1)
        if len(calls) == 6:
            stop.set()
        raise SourceUnreachable("the source does not answer")

    settings = ScanSettings(retry_seconds=0.01, retry_seconds_max=0.04)
    watching = Watching("s", away, settings, said.append, lambda: 1.0)
    started = asyncio.get_running_loop().time()
    await happens(watching.run(stop))
    assert asyncio.get_running_loop().time() - started >= 0.01 + 0.02 + 0.04 * 3
    assert len(said) == 5
    assert "s: the source does not answer; trying again" in said[0]


async def test_a_wait_ends_at_once_when_it_is_stopped():
    stop = asyncio.Event()

    async def away(stop):
        raise SourceUnreachable("away")

    patient = ScanSettings(retry_seconds=100 * PATIENCE, retry_seconds_max=100 * PATIENCE)
    work = asyncio.create_task(Watching("s", away, patient, lambda _: None).run(stop))
    await asyncio.sleep(0.01)
    stop.set()
    await happens(work)


async def test_what_no_waiting_mends_ends_the_watch():
    async def fail(stop):
        raise ModelError("no model")

    with pytest.raises(ModelError):
        await Watching("s", fail, ScanSettings(), lambda _: None).run(asyncio.Event())


async def nothing(stop):
    """Watch nothing."""


def test_pauses_are_jittered_between_half_and_the_whole():
    def watching(throw):
        return Watching("s", nothing, ScanSettings(), lambda _: None, lambda: throw)

    assert watching(0.0).jittered(10) == 5
    assert watching(1.0).jittered(10) == 10
