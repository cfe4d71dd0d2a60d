"""Trust through the command line: what is given changes, the rest stays; a peer's drawn life."""

import json

import pytest

from cache.judgement import LabelTrust, PeerState, Trust
from cache.memory.record import image_row, pipeline_row
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.storage.tables import issuers, verdicts
from cache.storage.trust_tables import agreements
from cache.trust.agreement import MIN_COMPARISONS
from cache.trust.notices import tell
from cache.trust.trust import add_peer, load_trust
from fediverdict.config import load_config
from fediverdict.trusting import Wish, granted
from tests.cache.prints import OTHERS, THEIRS

TRUSTED = Trust(clean=100, flag=50, state=PeerState.TRUSTED)
A, B = "https://a.example", "https://b.example"


# --- what a wish makes of trust ---------------------------------------------------------------
def test_a_weight_that_is_not_given_stays():
    expected = Trust(clean=100, flag=0, state=PeerState.TRUSTED)
    assert granted(TRUSTED, Wish(flag=0)) == expected


def test_a_label_keeps_the_weight_that_is_not_given():
    trust = granted(TRUSTED, Wish(clean=0, labels=("gore",)))
    trust = granted(trust, Wish(flag=70, labels=("gore",)))
    assert trust.labels == {"gore": LabelTrust(0, 70)}


def test_without_any_weight_a_peer_is_observed():
    assert granted(TRUSTED, Wish(clean=0, flag=0)).state is PeerState.OBSERVED


@pytest.mark.parametrize("state", [PeerState.SUSPENDED, PeerState.OBSERVED])
def test_lowering_a_weight_lifts_no_suspension_and_no_panic_and_raising_one_does(state):
    noted = Trust(clean=100, flag=50, state=state)
    assert granted(noted, Wish(flag=0)).state is state
    assert granted(noted, Wish(clean=0, labels=("gore",))).state is state
    assert granted(noted, Wish(audit_floor=0.5, operator="x")).state is state
    assert granted(noted, Wish(clean=50)).state is PeerState.TRUSTED


def test_a_preset_sets_all_weights_and_leaves_the_rest():
    before = Trust(10, 10, {"gore": LabelTrust(0, 0)}, operator="x", state=PeerState.SUSPENDED)
    both = granted(before, Wish(preset="trust-all"))
    assert (both.clean, both.flag, both.labels, both.operator) == (100, 100, {}, "x")
    assert both.state is PeerState.TRUSTED
    clean = granted(both, Wish(preset="trust-clean"))
    assert (clean.clean, clean.flag) == (100, 0)
    for trust in (clean, before, both):
        observed = granted(trust, Wish(preset="observe"))
        assert (observed.clean, observed.flag, observed.state) == (0, 0, PeerState.OBSERVED)


def test_what_is_no_weight_changes_alone():
    wish = Wish(heard=("gore",), max_age_days=9, audit_floor=0.5, min_agreement=0.9, operator="x")
    trust = granted(TRUSTED, wish)
    assert trust == Trust(
        clean=100,
        flag=50,
        heard=frozenset({"gore"}),
        max_age_days=9,
        audit_floor=0.5,
        min_agreement=0.9,
        operator="x",
        state=PeerState.TRUSTED,
    )
    assert granted(trust, Wish(operator="")).operator is None


# --- through the command line -----------------------------------------------------------------
@pytest.fixture
def store(config):
    """The database of the config, with two peers."""
    opened = Store.open(load_config(config, {}).database.url)
    for origin in (A, B):
        opened.write_now(add_peer, origin, PeerDefaults(), now=1)
    yield opened
    opened.close()


@pytest.fixture
def peers(run, config, store):
    """Run `peers ...` on that config."""
    return lambda *arguments: run("peers", *arguments, config=config)


def trust_in(store: Store, origin=A) -> Trust:
    return store.read_now(load_trust)[origin]


def note_record(store, **counts):
    values = {"label": "", "clean_compared": 0, "clean_false": 0} | counts

    def write(connection):
        of = issuers.select().where(issuers.c.origin == A)
        issuer_id = connection.execute(of).one().id
        connection.execute(agreements.insert().values(issuer_id=issuer_id, **values))
        return issuer_id

    return store.write_now(write)


def test_a_peer_lives_from_observed_over_trusted_to_suspended_and_back(peers, store):
    assert trust_in(store).state is PeerState.OBSERVED
    for arguments, state, weights in (
        (("trust", "a.example", "--clean", "0.5", "--flag", "1"), "trusted", (50, 100)),
        (("suspend", "a.example"), "suspended", (50, 100)),
        (("trust", A, "--flag", "0.5"), "trusted", (50, 50)),
        (("trust", A, "--clean", "0", "--flag", "0"), "observed", (0, 0)),
        (("trust", A, "--preset", "trust-clean"), "trusted", (100, 0)),
        (("suspend", A), "suspended", (100, 0)),
        (("trust", A, "--preset", "observe"), "observed", (0, 0)),
    ):
        done = peers(*arguments)
        assert done.code == 0, done.err
        assert f"{A} {state}" in done.out
        trust = trust_in(store)
        assert (trust.state, (trust.clean, trust.flag)) == (state, weights)
    assert trust_in(store, B) == Trust(audit_rate=1.0)


def test_trust_is_set_for_a_label_alone_and_printed_for_machines(peers, store):
    done = peers("trust", A, "--clean", "0.5", "--flag", "1", "--label", "test-pattern", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["labels"] == {"test-pattern": {"clean_weight": 0.5, "flag_weight": 1.0}}
    assert (said["clean_weight"], said["state"]) == (0.0, "trusted")
    assert trust_in(store).labels == {"test-pattern": LabelTrust(50, 100)}


def test_hearing_age_audits_and_operator_are_set(peers, store):
    options = ("--hear", "shape", "--max-age-days", "30", "--audit-rate", "0.1")
    assert peers("trust", A, *options, "--operator", "one", "--min-agreement", "0.9").code == 0
    trust = trust_in(store)
    assert (trust.heard, trust.max_age_days, trust.operator) == (frozenset({"shape"}), 30, "one")
    assert (trust.audit_floor, trust.min_agreement) == (0.1, 0.9)
    assert peers("trust", A, "--hear", "*", "--operator", "").code == 0
    assert (trust_in(store).heard, trust_in(store).operator) == (frozenset({"*"}), None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trust", A), "say what to change"),
        (("trust", A, "--label", "shape"), "--label says for what"),
        (("trust", A, "--clean", "1", "--label", "sexual"), "no label sexual; it has"),
        (("trust", A, "--hear", "sexual"), "no label sexual; it has"),
        (("trust", A, "--label", "*", "--clean", "1"), "no label *"),
        (("trust", A, "--preset", "observe", "--clean", "1"), "--preset sets all weights"),
        (("trust", A, "--preset", "love"), "is not one of"),
        (("trust", A, "--clean", "1.01"), "not in the range"),
        (("trust", A, "--clean", "nan"), "nan is no weight"),
        (("trust", A, "--clean", "0.004"), "the smallest step is 0.01"),
        (("trust", A, "--audit-rate", "0.001"), "the smallest step is 0.01"),
        (("trust", A, "--max-age-days", "367"), "not in the range"),
        (("trust", A, "--operator", "x" * 101), "at most 100 characters"),
        (("trust", "https://nobody.example", "--clean", "1"), "is no peer known here"),
        (("trust", "self", "--clean", "1"), "is no peer known here"),
        (("trust", "", "--clean", "1"), "is no peer known here"),
        (("suspend", "nobody.example"), "is no peer known here"),
        (("show", "nobody.example"), "is no peer known here"),
    ],
)
def test_what_cannot_be_meant_is_said_and_changes_nothing(peers, store, arguments, said):
    before = store.read_now(load_trust)
    done = peers(*arguments)
    assert (done.code, said in done.err) == (2, True), done.err
    assert store.read_now(load_trust) == before


def test_show_tells_weights_record_bounds_advice_and_notices(peers, store):
    issuer_id = note_record(
        store, clean_compared=400, clean_false=0, flag_compared=40, flag_agreed=20, since_false=400
    )
    store.write_now(tell, "false-clean", "a was wrong\x1b[2J", issuer_id, now=60)
    assert peers("trust", A, "--clean", "0.5", "--flag", "0.5").code == 0
    done = peers("show", A)
    assert done.code == 0, done.err
    assert "unaudited: nothing scans here" in done.out
    assert "99.0% to 100.0%" in done.out
    assert f"advice: fediverdict peers trust {A} --clean 1 " in done.out
    assert f"advice: fediverdict peers trust {A} --flag 0 " in done.out
    assert "1970-01-01 00:01Z false-clean (unread): a was wrong\\x1b[2J" in done.out
    said = json.loads(peers("show", A, "--json").out)
    assert said["audits"] == {
        "state": "unaudited",
        "rate": 0.0,
        "compared_since_false_clean": 400,
        "hits_since_false_clean": 0,
    }
    [label] = said["agreement"]
    counted = label["label"], label["clean"]["compared"], label["clean"]["agreed"]
    assert counted == (None, 400, 400)
    assert label["clean"]["bounds"] == [pytest.approx(0.9905, abs=1e-4), 1.0]
    assert [one["command"] for one in said["advice"]] == [
        f"fediverdict peers trust {A} --clean 1",
        f"fediverdict peers trust {A} --flag 0",
    ]


def test_show_names_the_pipelines_that_are_not_listed_here(peers, store):
    def write(connection):
        pipeline = pipeline_row(connection, OTHERS)
        of = issuers.select().where(issuers.c.origin == A)
        values = {"image_id": image_row(connection, b"x" * 32, now=1), "feed": 1, "basis": 0}
        values |= {"issuer_id": connection.execute(of).one().id, "issued": 1, "expires": 9}
        connection.execute(verdicts.insert().values(pipeline_id=pipeline, **values))

    store.write_now(write)
    said = json.loads(peers("show", A, "--json").out)
    assert said["pipelines"] == [{"pipeline": THEIRS, "verdicts": 1, "state": None}]
    assert f"pipeline {THEIRS}: 1 verdicts, not listed" in peers("show", A).out


def test_show_tells_how_often_a_peer_is_audited_where_something_scans(run, tmp_path):
    path = tmp_path / "scans.toml"
    assert run("init", config=path).code == 0
    opened = Store.open(load_config(path, {}).database.url)
    opened.write_now(add_peer, A, PeerDefaults(), now=1)
    note_record(opened, clean_compared=20, since_false=20, hits_since_false=35)
    opened.close()
    done = run("peers", "show", "a.example", config=path)
    assert "of its clean hits 50.0% are audited: 20 compared since" in done.out
    audits = json.loads(run("peers", "show", A, "--json", config=path).out)["audits"]
    assert (audits["state"], audits["rate"], audits["hits_since_false_clean"]) == (
        "audited",
        0.5,
        35,
    )
    off = path.read_text().replace('audit = "adaptive"', 'audit = "off"')
    path.write_text(off if 'audit = "off"' in off else off + '\n[trust]\naudit = "off"\n')
    assert 'unaudited: trust.audit = "off"' in run("peers", "show", A, config=path).out


def test_notices_are_mentioned_until_they_are_marked_as_read(peers, store):
    issuer_id = note_record(store)
    store.write_now(tell, "demoted", "a fell", issuer_id, now=60)
    assert f"something to read about {A}" in peers("list").out
    assert "demoted (unread): a fell" in peers("show", A, "--mark-read").out
    assert "something to read" not in peers("list").out
    assert "demoted: a fell" in peers("show", A).out


def test_suggest_names_peers_whose_record_speaks_for_more_or_less(peers, store):
    assert "no record speaks for a change" in peers("suggest").out
    assert json.loads(peers("suggest", "--json").out) == []
    note_record(store, clean_compared=73, flag_compared=MIN_COMPARISONS, flag_agreed=0)
    done = peers("suggest")
    assert done.out.splitlines() == [
        f"fediverdict peers trust {A} --clean 0.5    # agreed in 73 of 73: 95.0% to 100.0% (95 %)"
    ]
    [one] = json.loads(peers("suggest", "--json").out)
    assert (one["peer"], one["claim"], one["weight"], one["label"]) == (A, "clean", 0.5, None)


def test_a_record_is_forgotten_on_request(peers, store):
    note_record(store, clean_compared=400, since_false=400)
    assert trust_in(store).audit_rate == 0.05
    assert peers("trust", A, "--forget").code == 0
    assert trust_in(store).audit_rate == 1.0
    assert json.loads(peers("show", A, "--json").out)["agreement"] == []
