"""One pass over a source: what is read, scanned, recorded, and what is bounded."""

import asyncio
import contextlib
import hashlib

import pytest
from sqlalchemy import func, select

from cache.memory.runs import (
    RunKind,
    RunState,
    begin_run,
    end_run,
    findings_page,
    load_run,
    resume_run,
)
from cache.memory.sightings import source_row
from cache.storage.tables import sightings, verdicts
from cache.verdict import Decision
from fediverdict.config import Config, ScanSettings
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.seen import Seen
from fediverdict.source_scan import READ_AGAIN, SourceScan, Wanted
from scanner.decoding.pool import DecodePool
from scanner.errors import ModelError, SourceUnreachable
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner
from tests.fakes.source import FakeSource
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import PATIENCE, happens, until

OPTIONS = {"prefix": ""}
QUICK = ScanSettings(write_seconds=0.05, stop_seconds=PATIENCE)
PICTURE = png(GREEN)


def pictures(count, first=0):
    return {f"{seed:04}.png": png(GREEN, seed) for seed in range(first, first + count)}


class Scans:
    """Goes over a source, as a fresh process would."""

    def __init__(self, store, judge):
        self.store, self.judge = store, judge
        self.source_id = store.write_now(source_row, name="s", kind="fake", location="memory")

    def run(self, reads_all=False, kind=RunKind.SCAN):
        which = (self.source_id, kind, OPTIONS)
        found = None if reads_all else self.store.write_now(resume_run, *which, now=1)
        begun = self.store.write_now
        return found or begun(begin_run, *which, reads_all=reads_all, now=1)

    async def over(
        self, source, *, reads_all=False, settings=QUICK, stop=None, wanted=Wanted(), told=None
    ):
        """Return what was told, by key, and whether the pass was complete."""
        run, told = self.run(reads_all), {} if told is None else told

        def tell(seen):
            told[seen.key] = seen

        one_pass = SourceScan(self.judge, source, run, settings, "off", tell, wanted)
        complete = await one_pass.run(source.list(run.cursor), stop or asyncio.Event())
        state = RunState.DONE if complete else RunState.STOPPED
        await self.store.write(end_run, run.id, state, now=2)
        self.last = run.id
        return told, complete

    def count(self, table):
        return self.store.read_now(
            lambda c: c.execute(select(func.count()).select_from(table)).scalar()
        )


@pytest.fixture
def store(sqlite_store):
    """These turn on no database; test_scan_killed and tests/cache/test_runs go through both."""
    return sqlite_store


@pytest.fixture
def scanner():
    return FakeScanner()


@pytest.fixture
async def make(store, scanner):
    made = []

    def one(limits=Limits(), can_scan=True):
        judgements = Judgements(Config(), load_policy("test"))
        pool = DecodePool(Config().scanner, limits)
        made.append(Judge(store, judgements, pool, scanner if can_scan else None))
        return Scans(store, made[-1])

    yield one
    for judge in made:
        judge.close()


@pytest.fixture
def scans(make):
    return make()


async def test_a_second_pass_reads_and_scans_nothing_that_is_unchanged(scans, scanner):
    source = FakeSource(pictures(5) | {"bad.png": b"no picture", "red.png": png(RED, 9)})
    first, complete = await scans.over(source)
    assert complete
    assert first["red.png"].answer.decision is Decision.FLAGGED
    assert first["bad.png"].answer.decision is Decision.UNDECODABLE
    assert (len(source.reads), sum(scanner.batches)) == (7, 6)
    second, _ = await scans.over(source)
    assert (len(source.reads), sum(scanner.batches)) == (7, 6)
    assert {k: v.answer.decision for k, v in first.items()} == {
        k: v.answer.decision for k, v in second.items()
    }
    assert second["bad.png"].answer.sentence == first["bad.png"].answer.sentence


async def test_a_changed_object_is_read_again_and_only_that(scans):
    source = FakeSource(pictures(3))
    await scans.over(source)
    source.objects["0001.png"] = png(RED, 50)
    source.reads.clear()
    told, _ = await scans.over(source)
    assert source.reads == ["0001.png"]
    assert told["0001.png"].answer.decision is Decision.FLAGGED


async def test_the_same_bytes_under_other_keys_are_scanned_once(scans, scanner):
    source = FakeSource({f"{number}.png": PICTURE for number in range(20)})
    told, _ = await scans.over(source)
    assert sum(scanner.batches) == 1
    assert scans.count(sightings) == 20
    assert {seen.answer.decision for seen in told.values()} == {Decision.CLEAN}


async def test_all_reads_everything_again_and_scans_nothing(scans, scanner):
    source = FakeSource(pictures(4) | {"bad.png": b"no picture"})
    await scans.over(source)
    await scans.over(source, reads_all=True)
    assert (len(source.reads), sum(scanner.batches)) == (10, 4)


async def test_what_could_not_be_judged_is_tried_again_under_other_limits(make):
    source = FakeSource({"a.png": PICTURE})
    told, _ = await make(Limits(pixels=100)).over(source)
    assert told["a.png"].answer.decision is Decision.OVER_LIMIT
    told, _ = await make(Limits(pixels=100)).over(source)
    assert (len(source.reads), told["a.png"].answer.decision) == (1, Decision.OVER_LIMIT)
    told, _ = await make().over(source)
    assert (len(source.reads), told["a.png"].answer.decision) == (2, Decision.CLEAN)


@pytest.mark.parametrize(("more", "read"), [(0, 1), (-1, 0)])
async def test_an_object_over_the_limit_is_not_even_read(make, more, read):
    source = FakeSource({"a.png": PICTURE})
    told, _ = await make(Limits(image_bytes=len(PICTURE) + more)).over(source)
    assert len(source.reads) == read
    assert (told["a.png"].answer.decision is Decision.OVER_LIMIT) == (not read)


async def test_pictures_and_bytes_in_flight_stay_within_their_limits(scans):
    source = FakeSource(pictures(30))
    source.read_seconds = 0.005
    largest = max(map(len, source.objects.values()))
    await scans.over(source, settings=QUICK.model_copy(update={"pictures_in_flight": 5}))
    assert source.most == 5
    source.most = source.most_bytes = 0
    limit = 3 * largest
    settings = QUICK.model_copy(update={"bytes_in_flight": limit})
    await scans.over(source, settings=settings, reads_all=True)
    assert source.most >= 3
    assert source.most_bytes <= limit


async def test_a_rate_holds_reading_back_and_not_what_is_unchanged(scans):
    source, loop = FakeSource(pictures(11)), asyncio.get_running_loop()
    settings = QUICK.model_copy(update={"rate_pictures_per_second": 20.0})
    started = loop.time()
    await scans.over(source, settings=settings)
    assert loop.time() - started >= 0.5
    settings = QUICK.model_copy(update={"rate_pictures_per_second": 0.01})  # minutes for each
    await happens(scans.over(source, settings=settings))
    assert len(source.reads) == 11


async def test_bytes_stay_in_flight_until_they_are_judged(scans, scanner):
    """What waits for the scanner is memory as well."""
    source = FakeSource(pictures(10))
    scanner.gate.clear()
    settings = QUICK.model_copy(update={"pictures_in_flight": 4})
    work = asyncio.create_task(scans.over(source, settings=settings))
    await until(lambda: len(source.reads) >= 4)
    await asyncio.sleep(0.2)
    assert len(source.reads) == 4
    scanner.gate.set()
    _, complete = await work
    assert complete


async def test_an_object_that_grew_since_it_was_listed_is_not_taken_in(scans):
    source = FakeSource({"a.png": PICTURE, "b.png": png(GREEN, 2)})
    source.sizes["a.png"] = 10
    told, complete = await scans.over(source)
    assert complete
    assert "grew" in told["a.png"].problem
    assert source.most_bytes == len(source.objects["b.png"])
    assert source.forgotten == ["a.png"]


async def test_a_stopped_pass_goes_on_behind_what_it_recorded(scans, scanner):
    source, stop = FakeSource(pictures(40)), asyncio.Event()
    settings = QUICK.model_copy(update={"pictures_in_flight": 2, "write_batch": 4})
    told: dict[str, Seen] = {}
    work = asyncio.create_task(scans.over(source, settings=settings, stop=stop, told=told))
    while len(told) < 8:
        await asyncio.sleep(0.01)
    stop.set()
    _, complete = await work
    assert not complete
    assert 8 <= len(told) < 40
    run = scans.store.read_now(load_run, scans.last)
    assert (run.state, run.seen, run.cursor) == (RunState.STOPPED, len(told), max(told))
    rest, complete = await scans.over(source)
    assert complete
    assert scans.last == run.id
    assert set(told) | set(rest) == set(source.objects)
    assert not set(told) & set(rest)
    assert sum(scanner.batches) == scans.count(verdicts) == 40


async def test_what_is_in_flight_at_a_stop_is_recorded(scans, scanner):
    source, stop = FakeSource(pictures(6)), asyncio.Event()
    scanner.gate.clear()
    work = asyncio.create_task(scans.over(source, stop=stop))
    await until(lambda: len(source.reads) == 6)
    stop.set()
    await asyncio.sleep(0.1)
    scanner.gate.set()
    told, _ = await work
    assert len(told) == scans.count(sightings) == 6


async def test_a_stop_waits_only_so_long(scans, scanner):
    source, stop = FakeSource(pictures(3)), asyncio.Event()
    scanner.gate.clear()
    settings = QUICK.model_copy(update={"stop_seconds": 0.1})
    work = asyncio.create_task(scans.over(source, stop=stop, settings=settings))
    await until(lambda: len(source.reads) == 3)
    stop.set()
    told, complete = await happens(work)
    assert (told, complete) == ({}, False)
    scanner.gate.set()
    told, complete = await scans.over(source)
    assert (len(told), complete) == (3, True)


async def test_a_limit_reads_so_many_and_the_next_pass_the_next(scans):
    source = FakeSource(pictures(10))
    for expected in (4, 8, 10):
        _, complete = await scans.over(source, wanted=Wanted(limit=4))
        assert (len(source.reads), complete) == (expected, expected == 10)
    assert sorted(source.reads) == sorted(source.objects)


async def test_a_limit_is_not_used_up_by_what_is_unchanged(scans):
    """Else a source that lists some objects again would never get on."""
    source = FakeSource(pictures(6))
    await scans.over(source)
    source.objects |= pictures(2, first=6)
    _, complete = await scans.over(source, wanted=Wanted(limit=2))
    assert (len(source.reads), complete) == (8, True)


async def test_since_takes_what_is_newer_or_of_unknown_time(scans):
    source = FakeSource(pictures(3))
    source.modified = {"0000.png": 99.0, "0001.png": 100.0}
    told, complete = await scans.over(source, wanted=Wanted(since=100.0))
    assert complete
    assert set(told) == {"0001.png", "0002.png"}


async def test_a_source_that_goes_away_ends_the_pass_and_loses_nothing(scans):
    source = FakeSource(pictures(40))
    source.read_seconds = 0.005
    settings = QUICK.model_copy(update={"pictures_in_flight": 2, "write_batch": 2})

    async def go_away():
        while scans.count(sightings) < 6:
            await asyncio.sleep(0.01)
        source.away = True

    leaving = asyncio.create_task(go_away())
    with pytest.raises(SourceUnreachable):
        await scans.over(source, settings=settings)
    await leaving
    recorded = scans.count(sightings)
    assert 6 <= recorded < 40
    source.away = False
    source.reads.clear()
    _, complete = await scans.over(source)
    assert complete
    assert scans.count(sightings) == 40
    assert len(source.reads) == 40 - recorded


async def test_one_object_that_gets_no_answer_does_not_stop_the_rest(scans):
    source = FakeSource(pictures(12))
    source.broken = {"0003.png", "0011.png"}
    told, complete = await scans.over(source)
    assert complete
    assert {key for key, seen in told.items() if seen.problem} == source.broken
    source.broken = set()
    source.reads.clear()
    await scans.over(source)
    assert sorted(source.reads) == ["0003.png", "0011.png"]


@pytest.mark.parametrize(("count", "is_away"), [(4, False), (5, True)])
async def test_so_many_without_an_answer_mean_that_the_source_is_away(scans, count, is_away):
    source = FakeSource(pictures(10))
    source.broken = set(sorted(source.objects)[10 - count :])
    one_at_a_time = {"unreachable_in_a_row": 4, "pictures_in_flight": 1, "write_batch": 1}
    settings = QUICK.model_copy(update=one_at_a_time)
    if not is_away:
        _, complete = await scans.over(source, settings=settings)
        assert complete
        return
    with pytest.raises(SourceUnreachable):
        await scans.over(source, settings=settings)
    run = scans.store.read_now(load_run, scans.run().id)
    assert run.cursor == "0004.png"  # the next pass begins with the first that got no answer


async def test_a_fault_of_the_model_ends_the_pass(scans, scanner, monkeypatch):
    def fail(_):
        raise ModelError("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr(scanner, "_score", fail)
        with pytest.raises(ModelError, match="gone"):
            await scans.over(FakeSource(pictures(3)))
    assert scans.count(sightings) == 0


async def test_one_slow_picture_keeps_the_cursor_back_and_the_window_bounded(scans, scanner):
    objects = pictures(60)
    source = FakeSource(objects)
    await scans.over(source)
    slow = "0000.png"
    source.objects[slow] = png(RED, 77)
    scanner.gate.clear()
    settings = QUICK.model_copy(update={"window": 10})
    told: dict[str, Seen] = {}
    work = asyncio.create_task(scans.over(source, settings=settings, told=told))
    await until(lambda: len(told) >= 9)
    await asyncio.sleep(0.2)
    assert len(told) == 9  # the slow one is the tenth
    run = scans.store.read_now(load_run, scans.run().id)
    assert run.cursor is None
    scanner.gate.set()
    _, complete = await work
    assert (complete, len(told)) == (True, 60)


async def test_findings_stand_in_the_run_and_plain_files_do_not(scans):
    after_the_end = PICTURE + b"PK\x03\x04 and so on"
    source = FakeSource(
        {"red.png": png(RED), "notes.txt": b"x", "bad.jpg": b"x", "fine.png": png(GREEN, 3)}
        | {"more.png": after_the_end}
    )
    told, _ = await scans.over(source)
    assert told["notes.txt"].is_no_picture
    assert told["more.png"].answer.inside
    found = {one.key: one for one in scans.store.read_now(findings_page, scans.last, 0)}
    assert set(found) == {"red.png", "bad.jpg", "more.png"}
    assert found["red.png"].sha256 == hashlib.sha256(png(RED)).digest()
    assert found["red.png"].rules
    again, _ = await scans.over(source)
    assert again["more.png"].answer.inside == told["more.png"].answer.inside


async def test_what_is_inside_known_bytes_is_found_under_every_key(scans, scanner):
    """Bytes that are known are not decoded, so it is taken from where they were met first."""
    data = PICTURE + b"PK\x03\x04 and so on"
    source = FakeSource({"a.png": data})
    first, _ = await scans.over(source)
    source.objects["b.png"] = data
    second, _ = await scans.over(source)
    assert second["b.png"].answer.inside == first["a.png"].answer.inside != ()


async def test_without_a_scanner_unknown_pictures_are_taken_up_by_the_next_pass_with_one(
    make, scanner
):
    source = FakeSource(pictures(2))
    told, _ = await make(can_scan=False).over(source)
    assert {seen.answer.decision for seen in told.values()} == {Decision.UNKNOWN}
    told, _ = await make().over(source)
    assert {seen.answer.decision for seen in told.values()} == {Decision.CLEAN}


async def test_a_watch_records_what_appears_while_it_waits(scans):
    source, stop = FakeSource(pictures(2)), asyncio.Event()
    told: dict[str, Seen] = {}
    run = scans.run()
    one_pass = SourceScan(
        scans.judge, source, run, QUICK, "off", lambda seen: told.update({seen.key: seen})
    )
    work = asyncio.create_task(one_pass.run(source.watch(), stop))
    source.objects["new.png"] = png(RED, 5)
    source.events.put_nowait("new.png")
    while len(told) < 3:
        await asyncio.sleep(0.01)
    assert told["new.png"].is_finding
    stop.set()
    assert await happens(work) is False


@contextlib.asynccontextmanager
async def watching(scans, source, **settings):
    """Watch a source for the block; yields what is told, by key."""
    stop, told = asyncio.Event(), {}
    quick = QUICK.model_copy(update={"retry_seconds": 0.05, **settings})
    run = scans.run(kind=RunKind.WATCH)
    one_pass = SourceScan(
        scans.judge, source, run, quick, "off", lambda seen: told.update({seen.key: seen})
    )
    work = asyncio.create_task(one_pass.run(source.watch(), stop))
    yield told
    stop.set()
    await happens(work)


async def test_what_got_no_answer_in_a_watch_is_read_again_though_nothing_else_appears(scans):
    source = FakeSource({"new.png": png(RED, 5)})
    source.broken = {"new.png"}
    async with watching(scans, source) as told:
        await until(lambda: len(source.reads) == 2)
        source.broken = set()
        await until(lambda: told)
    assert told["new.png"].answer.decision is Decision.FLAGGED
    assert source.forgotten == []


async def test_what_gets_no_answer_in_a_watch_is_told_after_so_many_tries(scans):
    source = FakeSource({"new.png": png(RED, 5)})
    source.broken = {"new.png"}
    async with watching(scans, source, retry_seconds=0.01) as told:
        await until(lambda: told)
    assert told["new.png"].problem == "new.png: 500"
    assert len(source.reads) == READ_AGAIN + 1
    assert source.forgotten == ["new.png"]  # the source gives it again with its next full listing


async def test_keys_of_any_text_are_stored_as_they_are(scans):
    """Keys come from strangers: whatever text they are, they are stored as they are."""
    keys = ["=cmd|' /C'!A0", "a\nb.png", "\u202egnp.a", "'; DROP TABLE runs; --", "💥" * 50]
    told, complete = await scans.over(FakeSource(dict.fromkeys(keys, PICTURE)))
    assert complete
    assert set(told) == set(keys)
