"""`fediverdict cases`: what is listed and shown, what a decision needs, and how each ends."""

import json

import pytest
from sqlalchemy import select

from cache.cases.case_evidence import Decided, Ground
from cache.cases.case_opening import Terms, note_decisions
from cache.memory.record import record_image
from cache.memory.sightings import Sighting, record_sightings, source_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import case_pictures, cases
from cache.storage.database import Store
from cache.storage.tables import findings
from cache.trust.trust import add_peer
from cache.verdict import Decision, MatchKind
from fediverdict.config import load_config
from tests.cache.prints import fingerprint

NOW = 1_800_000_000
PEER = "https://a.example"
RULE = "test-pattern-found"


@pytest.fixture
def store(config):
    opened = Store.open(load_config(config).database.url)
    yield opened
    opened.close()


def open_case(store, *names, rules=(RULE,), code="code"):
    """Let pictures near one code of a peer stand in one case."""

    def write(connection):
        issuer = add_peer(connection, PEER, PeerDefaults(), now=NOW)
        source = source_row(connection, name="pictures", kind="folder", location="/p")
        record_image(connection, fingerprint(code), now=NOW)
        made = []
        for name in names:
            sha256 = fingerprint(name).sha256
            row_id = record_image(connection, fingerprint(name), now=NOW)
            met = Sighting(source, f"{name}\x1b[31m.png", 1, "m", sha256, "judged", NOW)
            record_sightings(connection, [met], [row_id])
            ground = Ground(PEER, fingerprint(code).sha256, MatchKind.NEAR, RULE, 12)
            made.append(
                Decided(
                    sha256, Decision.REVIEW, "Peers flag it.", rules,
                    grounds=(ground,), nearest=(ground,),
                )
            )  # fmt: skip
        return issuer, note_decisions(connection, made, Terms(), now=NOW)

    store.write_now(write)


def test_list_shows_what_waits_and_show_tells_everything_about_it(run, config, store):
    assert "no case waits" in run("cases", "list", config=config).out
    open_case(store, "one", "two")
    listed = run("cases", "list", config=config)
    assert (listed.code, "2 of 2" in listed.out, RULE in listed.out) == (0, True, True)
    shown = run("cases", "show", 1, config=config)
    assert shown.code == 0
    for part in (
        "case 1: open",
        fingerprint("one").sha256.hex(),
        "lies in pictures: one\\x1b[31m.png",  # a name may hold escape sequences
        f"{PEER} says {RULE} of {fingerprint('code').sha256.hex()[:16]}... (near, 12 bits)",
        "shown now for the first time",
    ):
        assert part in shown.out
    assert "\x1b" not in shown.out
    assert "shown before" in run("cases", "show", 1, config=config).out


def test_json_tells_the_same_to_machines(run, config, store):
    open_case(store, "one")
    [listed] = json.loads(run("cases", "list", "--json", config=config).out)
    assert (listed["case"], listed["state"], listed["waiting"]) == (1, "open", 1)
    shown = json.loads(run("cases", "show", 1, "--json", config=config).out)
    [picture] = shown["pictures"]
    assert picture["sha256"] == fingerprint("one").sha256.hex()
    assert picture["places"] == [{"source": "pictures", "key": "one\x1b[31m.png", "seen": NOW}]
    assert picture["grounds"][0]["distance"] == 12


def test_a_decision_is_entered_with_reason_and_name(run, config, store):
    open_case(store, "one")
    ended = run(
        "cases", "decide", 1, "dismissed", "--reason", "a comic", "--by", "ann", config=config
    )
    assert (ended.code, ended.err) == (0, "")
    assert "case 1 is dismissed; 1 decided, 0 wait" in ended.out
    [row] = store.read_now(
        lambda c: c.execute(select(findings).where(findings.c.decided_by == "ann")).all()
    )
    assert (row.rule, row.finding, row.reason) == (RULE, "dismissed", "a comic")
    assert "no case waits" in run("cases", "list", config=config).out
    assert "dismissed" in run("cases", "list", "--state", "all", config=config).out
    assert "ann found" in run("cases", "show", 1, config=config).out


def test_one_of_near_pictures_is_refused_before_it_was_shown(run, config, store):
    open_case(store, "one", "two")
    decide = ("cases", "decide", 1, "upheld", "--reason", "seen", "--picture")
    one = fingerprint("one").sha256.hex()
    refused = run(*decide, one, config=config)
    assert (refused.code, "was not shown yet" in refused.err) == (3, True)
    run("cases", "show", 1, "--limit", 1, config=config)  # shows the first alone
    assert run(*decide, fingerprint("two").sha256.hex(), config=config).code == 3
    done = run(*decide, one, "--json", config=config)
    assert json.loads(done.out) == {"case": 1, "state": "open", "decided": [one], "waiting": 1}


def test_show_goes_on_behind_a_page(run, config, store):
    open_case(store, "one", "two")
    first = run("cases", "show", 1, "--limit", 1, config=config).out
    after = first.rpartition("--after ")[2].strip()
    second = run("cases", "show", 1, "--limit", 1, "--after", after, config=config).out
    assert fingerprint("one").sha256.hex() in first
    assert fingerprint("two").sha256.hex() in second
    rows = store.read_now(lambda c: c.execute(select(case_pictures.c.shown)).scalars().all())
    assert None not in rows


def test_the_list_goes_on_below_a_number(run, config, store):
    for number in range(3):
        open_case(store, f"p{number}", code=f"code {number}")
    first = json.loads(run("cases", "list", "--json", "--limit", 2, config=config).out)
    assert [one["case"] for one in first] == [3, 2]
    assert "--before 2" in run("cases", "list", "--limit", 2, config=config).out
    rest = json.loads(run("cases", "list", "--json", "--before", 2, config=config).out)
    assert [one["case"] for one in rest] == [1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", 7), 3, "there is no case 7"),
        (("decide", 7, "upheld", "--reason", "x"), 3, "there is no case 7"),
        (("decide", 1, "guilty", "--reason", "x"), 2, "guilty"),
        (("decide", 1, "upheld"), 2, "--reason"),
        (("decide", 1, "upheld", "--reason", " "), 2, "1 to 2000 characters"),
        (("decide", 1, "upheld", "--reason", "x" * 2_001), 2, "1 to 2000 characters"),
        (("decide", 1, "upheld", "--reason", "x", "--rule", "nonsense"), 2, "no rule nonsense"),
        (("decide", 1, "upheld", "--reason", "x", "--picture", "ab"), 2, "SHA-256 in hex"),
        (("decide", 1, "upheld", "--reason", "x", "--picture", "0" * 64), 3, "no picture of case"),
        (("list", "--state", "lost"), 2, "lost"),
        (("show", 10**30), 2, "range"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run, config, store, arguments, code, said):
    open_case(store, "one")
    ended = run("cases", *arguments, config=config)
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_a_reason_at_the_limit_is_kept(run, config, store):
    open_case(store, "one")
    assert run("cases", "decide", 1, "upheld", "--reason", "x" * 2_000, config=config).code == 0


def test_of_several_rules_one_has_to_be_named(run, config, store):
    open_case(store, "one", rules=(RULE, "another"))
    refused = run("cases", "decide", 1, "upheld", "--reason", "x", config=config)
    assert (refused.code, f"another, {RULE}" in refused.err) == (2, True)


def test_an_embargo_is_shown(run, config, store):
    open_case(store, "one")
    run("cases", "decide", 1, "escalated", "--reason", "police", config=config)
    assert "escalated, under embargo" in run("cases", "show", 1, config=config).out
    assert store.read_now(lambda c: c.execute(select(cases.c.embargo)).scalar_one())
