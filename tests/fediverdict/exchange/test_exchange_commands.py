"""`export` and `import`, as an admin runs them on an instance that may not scan."""

import json
import stat
import time
from contextlib import closing

import pytest

from cache.memory.record import (
    NewFinding,
    pipeline_row,
    record_finding,
    record_image,
    record_verdict,
)
from cache.storage.database import Store
from cache.verdict import SELF, Basis, Feed, Finding, Verdict
from fediverdict.config import load_config
from fediverdict.judgement import Judgements
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.decoding.fingerprint import Fingerprint
from scanner.policy import load_policy

RULE = "test-pattern-found"
CODE, FAR = b"\x0f\xf0" * 16, b"\x33\xcc\xaa\x5a" * 8
NOW = int(time.time())


def near(code: bytes, bits: int) -> bytes:
    return (int.from_bytes(code) ^ ((1 << bits) - 1)).to_bytes(32)


def lookup(run, config, picture: bytes, code: bytes):
    """Store a picture that nobody judged, and say what is made of it."""
    store(config, lambda c, _: record_image(c, _print(picture, code), now=NOW, variants=[code] * 8))
    return json.loads(run("lookup", "--json", picture.hex(), config=config).out)


def _print(picture, code):
    return Fingerprint(picture, None, code, 100, code)


def store(config, write):
    """Run one write on the instance of a config."""
    settings = load_config(config)
    judgements = Judgements(settings, load_policy(settings.scanner.policy))
    with closing(Store.open(settings.database.url)) as opened:
        judgement = opened.read_now(judgements.current)
        opened.write_now(write, judgement)


def judged(picture: bytes, code: bytes, score: int):
    """Return a write that stores a verdict of our own."""
    description = bundled_pipeline(load_policy("test"))

    def write(connection, judgement):
        record_image(connection, _print(picture, code), now=NOW)
        pipeline_row(connection, description)
        scores = {"test-pattern": score, "shape": 0}
        verdict = Verdict(
            *(SELF, picture, Feed.OWN, Basis.MODEL, NOW, NOW + 9_999, None, code, 100),
            pipeline=pipeline_id(description),
            scores=scores,
        )
        record_verdict(connection, verdict, judgement, now=NOW)

    return write


@pytest.fixture
def listed(tmp_path):
    """A list of one code, in PDQ tools' own format."""
    path = tmp_path / "list.txt"
    path.write_text(f"{CODE.hex()},100,/some/name.jpg\n")
    return path


def test_a_picture_near_an_imported_code_is_not_passed(run, config, listed):
    assert run("import", listed, "--list", "known-bad", "--rule", RULE, config=config).code == 0
    answer = lookup(run, config, b"\x01" * 32, near(CODE, 31))
    assert (answer["decision"], answer["match"]["kind"]) == ("review", "near")
    assert lookup(run, config, b"\x02" * 32, FAR)["decision"] == "unknown"


def test_a_list_weighs_what_the_admin_says(run, config, listed):
    run("import", listed, "--list", "known-bad", "--rule", RULE, "--flag", 0, config=config)
    assert lookup(run, config, b"\x01" * 32, CODE)["decision"] == "unknown"
    assert run("peers", "trust", "list:known-bad", "--flag", 1, config=config).code == 0
    assert lookup(run, config, b"\x01" * 32, CODE)["decision"] == "review"


def test_a_replaced_list_lacks_what_the_new_file_lacks(run, config, listed, tmp_path):
    run("import", listed, "--list", "known-bad", "--rule", RULE, config=config)
    time.sleep(1.1)  # seconds tell old rows from new ones
    other = tmp_path / "other.txt"
    other.write_text(FAR.hex())
    told = run(
        *("import", other, "--list", "known-bad", "--rule", RULE, "--replace", "--json"),
        config=config,
    )
    assert json.loads(told.out) == {"list": "known-bad", "stored": 1, "skipped": 0, "dropped": 1}
    assert lookup(run, config, b"\x01" * 32, CODE)["decision"] == "unknown"
    assert lookup(run, config, b"\x02" * 32, FAR)["decision"] == "review"


def test_a_dropped_list_matches_nothing(run, config, listed):
    run("import", listed, "--list", "known-bad", "--rule", RULE, config=config)
    assert run("import", "--list", "known-bad", "--drop", config=config).code == 0
    assert lookup(run, config, b"\x01" * 32, CODE)["decision"] == "unknown"
    assert run("import", "--list", "never", "--drop", config=config).code == 2


def test_a_file_with_one_bad_line_stores_nothing(run, config, listed):
    listed.write_text(f"{CODE.hex()}\nnonsense\n")
    refused = run("import", listed, "--list", "known-bad", "--rule", RULE, config=config)
    assert (refused.code, "line 2" in refused.err) == (2, True)
    assert "known-bad" not in run("peers", "list", config=config).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--list", "Not A Name", "--rule", RULE), "cannot name a list"),
        (("--list", "known-bad"), "--rule"),
        (("--list", "known-bad", "--rule", "nope"), "there is no rule nope"),
        (("--list", "known-bad", "--exchange", "sample"), "give a FILE, or --exchange"),
    ],
)
def test_a_call_that_lacks_something_says_what(run, config, listed, arguments, said):
    refused = run("import", listed, *arguments, config=config)
    assert refused.code in (2, 3)
    assert said in refused.err


def test_what_is_exported_can_be_imported_and_judges_alike(run, config, tmp_path):
    store(config, judged(b"\x05" * 32, CODE, 9_000))
    store(config, judged(b"\x06" * 32, FAR, 10))
    out = tmp_path / "out.jsonl"
    assert run("export", "--output", out, config=config).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    other = tmp_path / "other" / "config.toml"
    other.parent.mkdir()
    other.write_text("[scanner]\nenabled = false\n[decide]\nflag_quorum = 1.0\n")
    run("init", config=other)
    told = run("import", out, "--list", "friend", "--clean", 1, config=other)
    assert (told.code, "2 stored" in told.out) == (0, True)
    assert lookup(run, other, b"\x05" * 32, CODE)["decision"] == "flagged"
    assert lookup(run, other, b"\x06" * 32, FAR)["decision"] in ("clean", "unknown")


def test_csv_and_json_lines_hold_the_same(run, config, tmp_path):
    store(config, judged(b"\x05" * 32, CODE, 9_000))
    found = []
    for kind in ("csv", "jsonl"):
        path = tmp_path / f"out.{kind}"
        run("export", "--format", kind, "--output", path, config=config)
        run("import", path, "--list", f"as-{kind}", config=config)
        again = run("export", "--issuer", f"list:as-{kind}", config=config).out
        found.append(again)
    assert found[0] == found[1] != ""


def test_our_own_codes_are_written_as_other_tools_read_them(run, config):
    store(config, judged(b"\x05" * 32, CODE, 9_000))
    store(config, judged(b"\x06" * 32, FAR, 10))
    assert run("export", "--format", "pdq", config=config).out == f"{CODE.hex()},100\n"
    bits = run("export", "--format", "piefed", config=config).out
    assert bits == f"{int.from_bytes(CODE):0256b}\n"


def test_an_export_tells_neither_who_decided_nor_why_nor_the_test_card(run, config):
    def write(connection, judgement):
        found = NewFinding(b"\x05" * 32, RULE, Finding.UPHELD, "a secret reason", "a secret name")
        record_finding(connection, found, judgement, now=NOW)

    store(config, write)
    out = run("export", config=config).out
    assert json.loads(out)["finding"] == "upheld"
    assert "secret" not in out
    assert "test-card" not in out


def test_lists_never_enter_a_feed_of_ours(run, config, listed):
    run("import", listed, "--list", "known-bad", "--rule", RULE, config=config)
    with closing(Store.open(load_config(config).database.url)) as opened:
        rows = opened.read_now(lambda c: c.exec_driver_sql("SELECT * FROM feed_rows").all())
    assert rows == []


def test_an_exchange_is_asked_through_the_library(run, config, tmp_path):
    pytest.importorskip("threatexchange")
    path = tmp_path / "signals.txt"
    path.write_text(f"pdq {CODE.hex()}\nurl https://example.org/\n")
    told = run(
        *("import", "--exchange", "local_file", "--set", f"filename={path}"),
        *("--list", "shared", "--rule", RULE),
        config=config,
    )
    assert (told.code, told.out) == (0, "list:shared: 1 stored\n")
    assert lookup(run, config, b"\x01" * 32, CODE)["decision"] == "review"
    bad = run(
        *("import", "--exchange", "ncmec", "--set", "environment=moon"),
        *("--list", "shared", "--rule", RULE),
        config=config,
    )
    assert (bad.code, "environment is one of" in bad.err) == (2, True)


def test_what_persons_found_last_is_exported_and_can_be_imported(run, config, tmp_path):
    def write(connection, judgement):
        for picture, finding in ((5, "upheld"), (6, "upheld"), (6, "dismissed"), (7, "escalated")):
            found = NewFinding(bytes([picture]) * 32, RULE, Finding(finding), "why", "who")
            record_finding(connection, found, judgement, now=NOW)

    store(config, write)
    for kind in ("jsonl", "csv"):
        path = tmp_path / f"out.{kind}"
        assert run("export", "--format", kind, "--output", path, config=config).code == 0
        told = run("import", path, "--list", f"as-{kind}", "--json", config=config)
        assert (told.code, json.loads(told.out)["stored"]) == (0, 1)
        rows = run("export", "--issuer", f"list:as-{kind}", config=config).out.splitlines()
        assert [json.loads(row)["sha256"] for row in rows] == ["05" * 32]


def test_an_export_of_a_stranger_is_refused(run, config):
    refused = run("export", "--issuer", "https://nobody.example", config=config)
    assert (refused.code, "is no peer known here" in refused.err) == (2, True)
