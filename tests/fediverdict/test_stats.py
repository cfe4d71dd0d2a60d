"""`fediverdict stats`: what it sums up, what it estimates, and what it says where nothing is."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

import scanner
from cache.memory.counts import Counts, day_of, store_counts
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.trust.trust import add_peer
from cache.verdict import Decision
from fediverdict import parts
from fediverdict.app import build_app
from fediverdict.config import load_config
from fediverdict.statistics import read_stats, stats_json
from fediverdict.tally import How
from tests.fakes.scanner import FakeScanner
from tests.fediverdict.test_judge import GREEN, png

PEER = "https://peer.example"
DAY = 20_000
COUNTED = Counts(
    {
        "reused clean exact peers-clear": 60,
        "reused clean exact own-clear": 10,
        "reused clean content peers-clear": 5,
        "reused review near near-quorum": 5,
        "scanned clean exact own-clear": 15,
        "open unknown none no-evidence": 5,
        "failed undecodable none undecodable": 3,
        "milliseconds-scanned": 15_000,
        "milliseconds-reused": 8_000,
        "reused-by-peers": 70,
    },
    {("clean", PEER): 65, ("review", PEER): 5},
    {PEER: 65},
)


@pytest.fixture
def filled(store):
    store.write_now(add_peer, PEER, PeerDefaults(), now=1)
    store.write_now(store_counts, COUNTED, day=DAY)
    return store


def test_the_share_saved_is_of_what_could_be_judged(filled):
    found = filled.read_now(read_stats, DAY)
    assert (found.saved, found.saved_by_peers) == (0.8, 0.7)
    assert found.answers(How.REUSED, decision="clean") == 75
    assert found.of_peer(PEER, Decision.CLEAN) == 65


def test_the_time_saved_is_what_the_reused_ones_would_have_taken_more(filled):
    found = filled.read_now(read_stats, DAY)
    assert found.mean_milliseconds(How.SCANNED) == 1_000
    assert found.mean_milliseconds(How.REUSED) == 100
    assert found.saved_seconds == 80 * 0.9


def test_no_time_is_estimated_where_nothing_was_scanned(store):
    store.write_now(store_counts, Counts({"reused clean exact peers-clear": 3}), day=DAY)
    assert store.read_now(read_stats, DAY).saved_seconds is None


def test_a_scan_faster_than_a_reuse_saves_no_negative_time(store):
    spent = {"milliseconds-scanned": 1, "milliseconds-reused": 1_000}
    answers = {"reused clean exact own-clear": 1, "scanned clean exact own-clear": 1}
    store.write_now(store_counts, Counts(spent | answers), day=DAY)
    assert store.read_now(read_stats, DAY).saved_seconds == 0


def test_the_json_has_the_documented_fields(filled):
    shown = stats_json(filled.read_now(read_stats, DAY))
    assert shown["answers"]["reused"] == {"clean": 75, "review": 5}
    assert shown["answers"]["failed"] == {"undecodable": 3}
    assert shown["reused_by_match"] == {"exact": 70, "content": 5, "near": 5}
    assert shown["reasons"]["peers-clear"] == 65
    assert shown["inference_saved_by_peers"] == 0.7
    assert (shown["inference_saved"], shown["estimated_seconds_saved"]) == (0.8, 72.0)
    [peer] = [one for one in shown["issuers"] if one["issuer"] == PEER]
    assert peer["reused"] == {"clean": 65, "review": 5, "flagged": 0}


def test_nothing_counted_yet_is_said_and_is_no_error(run, config):
    ended = run("stats", config=config)
    assert ended.code == 0
    assert "nothing was answered yet" in ended.out
    assert "cases waiting for a person: 0" in ended.out
    empty = json.loads(run("stats", "--json", config=config).out)
    assert (empty["inference_saved"], empty["estimated_seconds_saved"]) == (None, None)


def test_the_table_names_share_time_peers_and_matches(run, config):
    store = Store.open(load_config(config).database.url)
    store.write_now(add_peer, PEER, PeerDefaults(), now=1)
    store.write_now(store_counts, COUNTED, day=day_of(time.time()))
    store.close()
    said = run("stats", "--days", "1", config=config).out
    assert "inference saved: 80.0 % (70.0 % by peers' verdicts), an estimated 72 s" in said
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "content 5 0 0 the same picture in a file wrapped anew" in lines
    assert f"{PEER} 0 0 65 5 0 0 0 0 of 0" in lines


@pytest.mark.parametrize(("days", "code"), [(0, 2), (1, 0), (400, 0), (401, 2)])
def test_the_days_have_limits(run, config, days, code):
    assert run("stats", "--days", days, config=config).code == code


@pytest.fixture
def scanning(tmp_path, run, monkeypatch):
    """Return the config of an instance that scans a folder with a scanner that needs no torch."""
    monkeypatch.setattr(parts, "Scanner", lambda *_: FakeScanner())
    monkeypatch.setattr(parts, "is_installed", lambda *_: True)
    path = tmp_path / "config.toml"
    path.write_text('[sources.here]\npath = "pictures"\n')
    assert run("init", config=path).code == 0
    return path


def test_a_scan_and_a_server_are_counted(tmp_path, run, scanning, monkeypatch):
    """The same picture twice in a folder, then posted: one scan, two reuses; the bad one fails."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in {"a": png(GREEN), "b": png(GREEN), "c": b"no picture"}.items():
        (folder / f"{name}.png").write_bytes(data)
    shutil.copy(Path(scanner.__file__).parent / "testcard.png", folder / "testcard.png")
    assert run("scan", "here", config=scanning).code == 1  # the test card is flagged
    token = run("tokens", "create", "t", "--scope", "scan", config=scanning).out.split()[-1]
    monkeypatch.chdir(tmp_path)
    asyncio.run(_post(load_config(scanning), token, png(GREEN)))
    shown = json.loads(run("stats", "--json", config=scanning).out)
    assert shown["answers"] == {
        "reused": {"clean": 2},
        "scanned": {"clean": 1},
        "open": {},
        "failed": {"undecodable": 1},
    }
    assert shown["reused_by_match"] == {"exact": 2}


async def _post(config, token, data):
    store = Store.open(config.database.url)
    app = build_app(config, store)
    headers = {"Authorization": f"Bearer {token}"}
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/api/v1/scan", data=data, headers=headers)
        assert (await answer.json())["scanned"] is False
    store.close()
