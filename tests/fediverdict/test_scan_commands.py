"""`fediverdict scan` and `fediverdict apply` as an admin calls them."""

import csv
import json
import os
import stat
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from cache.memory.calibration import Calibration, record_calibration
from cache.memory.record import NewFinding, record_finding
from cache.storage.database import Store
from cache.storage.tables import runs
from cache.verdict import Finding
from fediverdict import parts
from fediverdict.config import load_config
from fediverdict.judgement import Judgements
from scanner.decoding.fingerprint import sha256_of
from scanner.policy import load_policy
from tests.fakes.scanner import FakeScanner, RedClassifier
from tests.fediverdict.test_bad_input import is_one_sentence
from tests.fediverdict.test_judge import GREEN, RED, png

MORE = png(GREEN, 9) + b"PK\x03\x04 and so on"
REPOSITORY = Path(__file__).parents[2]
FILES = {
    "a/red-1.png": png(RED, 1),
    "a/red-2.png": png(RED, 2),
    "green.png": png(GREEN, 3),
    "more.png": MORE,
    "bad.png": b"no picture",
    "notes.txt": b"no picture either",
}


@pytest.fixture
def scanners(monkeypatch):
    """Let every command use a scanner that needs no torch; returns those that were made."""
    made = []

    def make(*_):
        made.append(FakeScanner())
        return made[-1]

    monkeypatch.setattr(parts, "Scanner", make)
    monkeypatch.setattr(parts, "is_installed", lambda *_: True)
    return made


@pytest.fixture
def config(tmp_path, run, scanners):
    path = tmp_path / "config.toml"
    path.write_text('[sources.here]\npath = "pictures"\n')
    assert run("init", config=path).code == 0
    return path


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "pictures"


@pytest.fixture
def write(config):
    """Write into the instance's database as a command would."""
    store = Store.open(load_config(config, {}).database.url)
    yield store.write_now
    store.close()


@pytest.fixture
def calibrated(config, write):
    policy = load_policy("test")
    rules = Judgements(load_config(config, {}), policy).rule_texts
    tried = {"balanced": policy.thresholds()}
    pipeline = RedClassifier().pipeline_id
    found = Calibration(pipeline, policy.digest(), 1, 100, rules, tried, {"balanced": {}})
    write(record_calibration, found)


@pytest.fixture
def scanned(run, config, folder):
    assert run("scan", "here", config=config).code == 1


def there(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_scan_reports_and_touches_nothing(run, config, folder):
    ended = run("scan", folder, "--json", config=config)
    *objects, summary = lines(ended.out)
    assert ended.code == 1
    by_key = {one["key"]: one for one in objects}
    assert set(by_key) == set(FILES) - {"notes.txt"}
    assert by_key["a/red-1.png"]["decision"] == "flagged"
    assert by_key["a/red-1.png"]["rules"]
    assert by_key["more.png"]["inside"]
    assert by_key["green.png"] | {"reason": ""} == {
        "key": "green.png",
        "decision": "clean",
        "reason": "",
        "rules": [],
        "inside": [],
        "scanned": True,
        "feed": None,
        "size": len(FILES["green.png"]),
        "sha256": sha256_of(FILES["green.png"]).hex(),
    }
    assert summary["summary"]["no-picture"] == 1
    assert (summary["run"], summary["state"], summary["source"]) == (1, "done", "here")
    assert there(folder) == set(FILES)


def test_the_runs_are_listed_and_one_is_reported(run, config, scanned):
    listed = run("apply", "--json", config=config)
    [[only]] = lines(listed.out)
    assert (only["run"], only["source"], only["state"], only["seen"]) == (1, "here", "done", 6)
    assert only["found"] == {"clean": 1, "flagged": 2, "undecodable": 1}
    assert "here" in run("apply", config=config).out
    ended = run("apply", "1", config=config)
    assert ended.code == 0
    assert "red-1.png" in ended.out
    assert "notes.txt" not in ended.out
    by_name = run("apply", "1", "--decision", "undecodable", "--json", config=config)
    assert [one["key"] for one in lines(by_name.out)] == ["bad.png"]


def test_a_report_goes_to_a_file_that_only_we_may_read(run, config, folder, tmp_path):
    (folder / "=HYPERLINK(1).png").write_bytes(png(RED, 60))
    run("scan", "here", config=config)
    table, text = tmp_path / "report.csv", tmp_path / "report.jsonl"
    assert run("apply", "1", "--output", table, config=config).code == 0
    assert run("apply", "1", "--output", text, config=config).code == 0
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    reported = {one["key"]: one for one in lines(text.read_text())}
    assert len(rows) == len(reported) == 5
    assert reported["=HYPERLINK(1).png"]["decision"] == "flagged"
    assert not any(row["key"].startswith("=") for row in rows)


def test_delete_takes_exactly_what_was_flagged(run, config, folder, scanned, calibrated):
    asked = run("apply", "1", "--action", "delete", "--dry-run", config=config)
    assert asked.code == 0
    assert "2 flagged to be deleted; this cannot be undone" in asked.out
    assert there(folder) == set(FILES)
    ended = run("apply", "1", "--action", "delete", "--yes", "--json", config=config)
    assert ended.code == 0
    *objects, sums = lines(ended.out)
    assert {one["key"] for one in objects} == {"a/red-1.png", "a/red-2.png"}
    assert sums["counts"] == {"acted": 2, "skipped": 0, "failed": 0}
    assert there(folder) == set(FILES) - {"a/red-1.png", "a/red-2.png"}
    again = run("apply", "1", "--action", "delete", "--yes", config=config)
    assert "nothing to be deleted" in again.out


def test_a_scan_may_delete_at_once_where_it_is_told_to(run, config, folder, calibrated):
    ended = run("scan", "here", "--action", "delete", "--yes", config=config)
    assert ended.code == 1
    assert there(folder) == set(FILES) - {"a/red-1.png", "a/red-2.png"}


def test_what_could_not_be_judged_is_deleted_by_name_alone(run, config, folder, scanned):
    ended = run(
        *("apply", "1", "--action", "delete", "--decision", "undecodable", "--yes"), config=config
    )
    assert ended.code == 0, ended.err
    assert there(folder) == set(FILES) - {"bad.png"}


def test_rules_that_were_not_calibrated_only_report(run, config, folder, scanners):
    config.write_text(config.read_text() + '[rules]\nmine = "test-pattern"\n')
    run("scan", "here", config=config)
    ended = run("apply", "1", "--action", "delete", "--yes", config=config)
    is_one_sentence(ended, 3, "fediverdict policy calibrate")
    assert there(folder) == set(FILES)


def test_a_scan_that_could_not_delete_in_the_end_does_not_begin(run, config, folder, scanners):
    policy = folder.parent / "mine.toml"
    text = (REPOSITORY / "scanner/policies/test.toml").read_text()
    policy.write_text(text.replace('name = "test"', 'name = "mine"'))
    config.write_text(config.read_text() + '[scanner]\npolicy = "mine.toml"\n')
    ended = run("scan", "here", "--action", "delete", "--yes", config=config)
    is_one_sentence(ended, 3, "the policy mine", "fediverdict policy calibrate")
    assert scanners == []


def test_a_picture_dismissed_since_is_skipped(run, config, folder, scanned, calibrated, write):
    judgements = Judgements(load_config(config, {}), load_policy("test"))

    def dismiss(connection):
        sha256 = sha256_of(FILES["a/red-1.png"])
        for rule in judgements.rules:
            new = NewFinding(sha256, rule, Finding.DISMISSED, "harmless", "admin")
            record_finding(connection, new, judgements.current(connection), now=5)

    write(dismiss)
    ended = run("apply", "1", "--action", "delete", "--yes", config=config)
    assert "1 acted, 1 skipped" in ended.out
    assert "red-1.png" in ended.out
    assert there(folder) == set(FILES) - {"a/red-2.png"}


def test_a_file_that_was_replaced_since_is_not_deleted(run, config, folder, scanned, calibrated):
    (folder / "a/red-1.png").write_bytes(png(GREEN, 44))
    run("apply", "1", "--action", "delete", "--yes", config=config)
    assert there(folder) == set(FILES) - {"a/red-2.png"}


def test_a_source_that_is_elsewhere_by_now_is_not_touched(run, config, folder, scanned):
    other = folder.parent / "other"
    folder.rename(other)
    config.write_text(config.read_text().replace('"pictures"', '"other"'))
    ended = run("apply", "1", "--action", "delete", "--yes", config=config)
    is_one_sentence(ended, 2, "other", "scan it again")
    assert there(other) == set(FILES)


def test_a_run_over_where_its_source_was_is_not_acted_on_where_it_is(
    run, config, folder, scanned, calibrated, tmp_path
):
    """The next scan notes where the source is now; that is not where the first run was."""
    elsewhere = folder.rename(tmp_path / "elsewhere")
    config.write_text(config.read_text().replace('path = "pictures"', 'path = "elsewhere"'))
    assert lines(run("scan", "here", "--json", config=config).out)[-1]["run"] == 2
    ended = run("apply", "1", "--action", "delete", "--yes", config=config)
    assert ended.code == 2
    assert "by now; scan it again" in ended.err
    assert there(elsewhere) == set(FILES)


def test_nobody_is_asked_where_nobody_can_answer(run, config, folder, scanned):
    ended = run("apply", "1", "--action", "delete", config=config)
    is_one_sentence(ended, 2, "--yes", "--dry-run")
    ended = run("scan", "here", "--action", "delete", config=config)
    is_one_sentence(ended, 2, "--yes")
    assert there(folder) == set(FILES)


def test_stripping_keeps_the_picture_its_mode_and_its_time(run, config, folder, scanned):
    target = folder / "more.png"
    target.chmod(0o640)
    os.utime(target, ns=(1_000_000_000, 2_000_000_000))
    run("scan", "here", config=config)
    ended = run("apply", "2", "--strip", "--yes", config=config)
    assert ended.code == 0, ended.err
    found = target.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 2_000_000_000)
    assert b"PK" not in target.read_bytes()
    assert there(folder) == set(FILES)
    again = lines(run("scan", "here", "--json", config=config).out)
    [one] = [one for one in again if one.get("key") == "more.png"]
    assert (one["decision"], one["inside"]) == ("clean", [])


def test_a_flagged_picture_is_not_stripped_unless_named(run, config, folder, scanners):
    hidden = png(RED, 5) + b"PK\x03\x04 and so on"
    (folder / "red-more.png").write_bytes(hidden)
    run("scan", "here", config=config)
    run("apply", "1", "--strip", "--yes", config=config)
    assert (folder / "red-more.png").read_bytes() == hidden


def test_strip_is_refused_for_what_is_no_folder(run, config):
    config.write_text(
        config.read_text() + '[sources.store]\nkind = "s3"\nbucket = "bucket"\nanonymous = true\n'
    )
    is_one_sentence(run("scan", "store", "--strip", "--yes", config=config), 2, "s3")


def test_calls_that_make_no_sense_are_refused(run, config, scanned):
    is_one_sentence(run("apply", "9", config=config), 3, "no run 9")
    assert run("apply", 2**70, config=config).code == 2
    both = run("apply", "1", "--strip", "--action", "delete", "--yes", config=config)
    is_one_sentence(both, 2, "--strip")
    clean = run("apply", "1", "--action", "delete", "--decision", "clean", "--yes", config=config)
    is_one_sentence(clean, 2, "clean")
    is_one_sentence(run("scan", "here", "--since", "then", config=config), 2, "then")


def test_since_prefix_and_limit_choose(run, config, folder, scanners):
    os.utime(folder / "green.png", (1, 1))
    ended = lines(run("scan", "here", "--since", "1d", "--json", config=config).out)
    assert "green.png" not in {one.get("key") for one in ended}
    ended = lines(run("scan", "here", "--prefix", "a/", "--json", config=config).out)
    assert {one["key"] for one in ended[:-1]} == {"a/red-1.png", "a/red-2.png"}
    (folder / "b.png").write_bytes(png(GREEN, 70))
    (folder / "c.png").write_bytes(png(GREEN, 71))
    first = run("scan", "here", "--limit", "1", config=config)
    assert "the limit is reached; the same command goes on with run 3" in first.out
    run("scan", "here", config=config)
    [runs] = lines(run("apply", "--json", config=config).out)
    assert [(one["run"], one["state"]) for one in runs] == [(3, "done"), (2, "done"), (1, "done")]


def test_a_scan_since_misses_nothing_that_changed_while_it_lay_still(run, config, folder, write):
    """It would be too old for the next one, and lies before where the first one stopped."""
    first = run("scan", "here", "--since", "1d", "--limit", "3", config=config)
    assert "goes on with run 1" in first.out
    (folder / "a" / "0.png").write_bytes(png(RED, 80))
    ended = run("scan", "here", "--since", "1d", "--json", config=config)
    found = {one.get("key"): one for one in lines(ended.out)}
    assert found["a/0.png"]["decision"] == "flagged"
    assert (lines(ended.out)[-1]["run"], lines(ended.out)[-1]["state"]) == (1, "done")
    assert not found["a/red-1.png"]["scanned"]
    assert "going on with run 1" in ended.err


def test_since_counts_from_when_the_run_began(run, config, folder, scanners, write):
    run("scan", "here", "--since", "1d", "--limit", "1", config=config)
    began = int(time.time()) - 5 * 86_400
    write(lambda connection: connection.execute(update(runs).values(started=began)))
    os.utime(folder / "green.png", (began - 3_600, began - 3_600))
    ended = lines(run("scan", "here", "--since", "1d", "--json", config=config).out)
    assert "green.png" in {one.get("key") for one in ended}


def test_all_that_was_stopped_goes_on_without_all(run, config, folder, scanners):
    run("scan", "here", config=config)
    ended = run("scan", "here", "--all", "--limit", "2", config=config)
    assert "the same command without --all goes on with run 2" in ended.out
    ended = lines(run("scan", "here", "--json", config=config).out)
    assert (ended[-1]["run"], ended[-1]["state"]) == (2, "done")
    assert 4 <= ended[-1]["summary"]["pictures"] + ended[-1]["summary"]["no-picture"] < 6


def test_all_begins_a_new_run(run, config, folder, scanners):
    run("scan", "here", "--limit", "1", config=config)
    ended = lines(run("scan", "here", "--all", "--json", config=config).out)
    assert ended[-1]["run"] == 2
    assert sum(sum(scanner.batches) for scanner in scanners) == 4
