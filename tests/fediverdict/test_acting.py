"""Acting on what a run found: only on what was meant, as it was meant, and repeatably."""

import asyncio

import pytest

from cache.memory.record import NewFinding, record_finding
from cache.memory.runs import ItemState, findings_page, load_run, mark_findings
from cache.storage.tables import sightings
from cache.verdict import Decision, Finding
from fediverdict.acting import Acting, Action, Plan
from fediverdict.config import Config, ScanSettings
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.errors import SourceError, SourceUnreachable
from scanner.limits import Limits
from scanner.policy import load_policy
from tests.fakes.source import FakeSource
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.fediverdict.test_source_scan import make, scanner, scans

__all__ = ["make", "scanner", "scans"]  # fixtures

FLAGGED = (Decision.FLAGGED,)
MIXED = {
    "red-1.png": png(RED, 1),
    "red-2.png": png(RED, 2),
    "green.png": png(GREEN, 3),
    "bad.png": b"no picture",
    "notes.txt": b"no picture either",
}


class Acts:
    """Scans a source, then acts on the run."""

    def __init__(self, scans, source):
        self.scans, self.source, self.became = scans, source, {}

    async def found(self):
        await self.scans.over(self.source)
        self.run = self.scans.store.read_now(load_run, self.scans.last)
        return self

    def acting(self, decisions=FLAGGED, action=Action.DELETE, patience=16, scans=None):
        plan = Plan(self.run, action, decisions)
        judge = (scans or self.scans).judge
        settings = ScanSettings(act_batch=2, unreachable_in_a_row=patience)
        return Acting(judge, self.source, plan, settings, self._tell)

    async def delete(self, decisions=FLAGGED, stop=None, **options):
        await self.acting(decisions, **options).run(stop or asyncio.Event())

    def _tell(self, finding):
        self.became[finding.key] = (finding.state, finding.note)

    def states(self):
        rows = self.scans.store.read_now(findings_page, self.run.id, 0)
        return {row.key: row.state for row in rows}


@pytest.fixture
async def acts(store, scans):
    return await Acts(scans, FakeSource(MIXED)).found()


def dismiss(store, data):
    judgement = Judgements(Config(), load_policy("test"))

    def write(connection):
        for rule in judgement.rules:
            dismissed = NewFinding(sha256_of(data), rule, Finding.DISMISSED, "harmless", "admin")
            record_finding(connection, dismissed, judgement.current(connection), now=5)

    store.write_now(write)


async def test_only_what_was_flagged_is_deleted(acts):
    await acts.delete()
    assert sorted(acts.source.deleted) == ["red-1.png", "red-2.png"]
    assert set(acts.source.objects) == {"green.png", "bad.png", "notes.txt"}
    assert acts.states() == {"red-1.png": "acted", "red-2.png": "acted", "bad.png": "found"}
    assert acts.scans.count(sightings) == 3


async def test_what_could_not_be_judged_is_deleted_by_name_alone_and_plain_files_never(acts):
    await acts.delete((Decision.UNDECODABLE,))
    assert acts.source.deleted == ["bad.png"]


async def test_what_could_not_be_judged_under_other_limits_is_left_alone(acts, make):
    other = make(Limits(pixels=1_000_000))
    await acts.delete((Decision.UNDECODABLE,), scans=other)
    assert acts.source.deleted == []
    assert acts.became["bad.png"][0] is ItemState.SKIPPED
    assert "scan again" in acts.became["bad.png"][1]


async def test_a_picture_that_a_person_dismissed_since_is_skipped_and_told(acts):
    dismiss(acts.scans.store, MIXED["red-1.png"])
    await acts.delete()
    assert acts.source.deleted == ["red-2.png"]
    state, note = acts.became["red-1.png"]
    assert (state, "by now" in note) == (ItemState.SKIPPED, True)


async def test_an_object_that_changed_since_is_skipped_and_told(acts):
    acts.source.objects["red-1.png"] = png(GREEN, 1)
    await acts.delete()
    assert acts.source.deleted == ["red-2.png"]
    assert acts.became["red-1.png"][0] is ItemState.SKIPPED


async def test_an_object_that_another_pass_met_changed_is_skipped(acts):
    """Also where it is flagged again: that is another run's finding."""
    acts.source.objects["red-1.png"] = png(RED, 77)
    await acts.scans.over(acts.source)
    await acts.delete()
    assert acts.source.deleted == ["red-2.png"]


async def test_what_was_cut_short_is_seen_and_repeated(acts):
    """Killed after the object was deleted, and before that was written down."""
    store = acts.scans.store
    [first, *_] = store.read_now(findings_page, acts.run.id, 0, decisions=FLAGGED)
    store.write_now(mark_findings, [(first.id, ItemState.ACTING, None)], action="delete", now=3)
    del acts.source.objects[first.key]
    assert acts.states()[first.key] == "acting"
    await acts.delete()
    assert set(acts.states().values()) == {"acted", "found"}
    assert acts.became[first.key] == (ItemState.ACTED, "it was deleted before")


async def test_what_was_cut_short_and_is_another_object_now_is_left_alone(acts):
    store = acts.scans.store
    [first, *_] = store.read_now(findings_page, acts.run.id, 0, decisions=FLAGGED)
    store.write_now(mark_findings, [(first.id, ItemState.ACTING, None)], action="delete", now=3)
    acts.source.objects[first.key] = png(GREEN, 50)
    await acts.delete()
    assert first.key in acts.source.objects
    assert acts.states()[first.key] == "skipped"


async def test_an_action_is_written_down_before_the_object_is_touched(acts, monkeypatch):
    seen = []

    async def delete(item):
        seen.append(acts.states()[item.key])

    monkeypatch.setattr(acts.source, "delete", delete)
    await acts.delete()
    assert seen == ["acting", "acting"]


async def test_a_source_that_goes_away_leaves_the_rest_to_be_done_later(acts):
    async def gone(item):
        raise SourceUnreachable("away")

    whole, acts.source.delete = acts.source.delete, gone
    with pytest.raises(SourceUnreachable):
        await acts.delete(patience=0)
    assert sorted(acts.states().values()) == ["acting", "found", "found"]  # it may have heard
    acts.source.delete = whole
    await acts.delete()
    assert len(acts.source.deleted) == 2


async def test_one_object_that_gets_no_answer_fails_alone_and_is_tried_again(acts):
    async def broken(item):
        if item.key == "red-1.png":
            raise SourceUnreachable("red-1.png: 500")
        await whole(item)

    whole, acts.source.delete = acts.source.delete, broken
    await acts.delete(patience=1)
    assert acts.source.deleted == ["red-2.png"]
    assert acts.became["red-1.png"] == (ItemState.FAILED, "no answer: red-1.png: 500")
    acts.source.delete = whole
    await acts.delete()
    assert acts.states()["red-1.png"] == "acted"


async def test_a_stop_keeps_what_is_not_reached_as_it_was(acts, monkeypatch):
    stop, whole = asyncio.Event(), acts.source.delete

    async def delete(item):
        stop.set()
        await whole(item)

    monkeypatch.setattr(acts.source, "delete", delete)
    await acts.delete(stop=stop)
    assert len(acts.source.deleted) == 1
    assert sorted(acts.states().values()) == ["acted", "found", "found"]


async def test_acting_twice_does_no_harm(acts):
    await acts.delete()
    acts.source.objects["red-1.png"] = MIXED["red-1.png"]  # put back by its owner
    await acts.delete()
    assert "red-1.png" in acts.source.objects
    await acts.scans.over(acts.source)  # which finds it again
    await acts.found()
    await acts.delete()
    assert "red-1.png" not in acts.source.objects


async def test_a_deletion_that_was_cancelled_halfway_is_known_by_the_next_call(acts, monkeypatch):
    """A second Ctrl-C: the source may have done what it was asked to, without our hearing of it."""
    carry_out, begun = acts.source.delete, asyncio.Event()

    async def delete(item):
        await carry_out(item)
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(acts.source, "delete", delete)
    acting = asyncio.create_task(acts.delete())
    await begun.wait()
    acting.cancel()
    await asyncio.wait([acting])
    assert sorted(acts.states().values()) == ["acting", "found", "found"]
    monkeypatch.setattr(acts.source, "delete", carry_out)
    await acts.delete()
    assert acts.states() == {"red-1.png": "acted", "red-2.png": "acted", "bad.png": "found"}
    assert acts.scans.count(sightings) == 3


async def test_a_deletion_whose_answer_was_lost_is_known_by_the_next_call(acts, monkeypatch):
    carry_out = acts.source.delete

    async def delete(item):
        await carry_out(item)
        raise SourceUnreachable("no answer within 60 s")

    monkeypatch.setattr(acts.source, "delete", delete)
    await acts.delete()
    assert acts.states()["red-1.png"] == "failed"
    monkeypatch.setattr(acts.source, "delete", carry_out)
    await acts.delete()
    assert acts.states() == {"red-1.png": "acted", "red-2.png": "acted", "bad.png": "found"}


async def test_what_could_not_be_deleted_and_is_gone_was_not_deleted_by_us(acts, monkeypatch):
    async def delete(item):
        raise SourceError(f"cannot delete {item.key}: Read-only file system")

    carry_out = acts.source.delete
    monkeypatch.setattr(acts.source, "delete", delete)
    await acts.delete()
    assert acts.states()["red-1.png"] == "failed"
    del acts.source.objects["red-1.png"]
    monkeypatch.setattr(acts.source, "delete", carry_out)
    await acts.delete()
    assert acts.states() == {"red-1.png": "skipped", "red-2.png": "acted", "bad.png": "found"}
