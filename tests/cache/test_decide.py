"""Deciding, step by step, as design.md numbers them."""

import pytest

from cache.decide import decide
from cache.judgement import LabelTrust, NearClean, PeerState, Trust
from cache.outcome import Reason, explain
from cache.verdict import Decision, Evidence, Feed, Match, MatchKind
from tests.cache.pictures import (
    ALSO,
    BAD,
    DAY,
    FOREIGN,
    GOOD,
    GORY,
    NOW,
    OLD,
    OPEN,
    OTHER,
    TRIAL,
    A,
    B,
    C,
    content,
    evidence,
    exact,
    judgement,
    near,
    person,
    probable,
    trusted,
    upheld,
    verdict,
)

CLEAN, REVIEW = Decision.CLEAN, Decision.REVIEW
FLAGGED, UNKNOWN = Decision.FLAGGED, Decision.UNKNOWN


def _decide(*items, can_scan=True, throw=0.5, now=NOW, **changes):
    return decide(evidence(*items), judgement(**changes), now=now, can_scan=can_scan, throw=throw)


def _ends(outcome, decision, reason):
    assert (outcome.decision, outcome.reason) == (decision, reason)
    assert explain(outcome).endswith(".")
    return outcome


# --- 1: persons here -------------------------------------------------------------------------
def test_1_a_person_here_who_upheld_flags_whatever_else_is_said():
    outcome = _decide(person("upheld"), exact(verdict(GOOD)))
    _ends(outcome, FLAGGED, Reason.PERSON_UPHELD)
    assert outcome.rules == ("pattern",)
    assert outcome.findings


def test_1_an_escalated_rule_is_for_review():
    _ends(_decide(person("escalated"), exact(verdict(BAD))), REVIEW, Reason.PERSON_ESCALATED)


def test_1_upheld_for_one_rule_outweighs_escalated_for_another():
    outcome = _decide(person("escalated", "gory"), person("upheld"))
    _ends(outcome, FLAGGED, Reason.PERSON_UPHELD)


def test_1_the_newest_finding_of_a_rule_counts():
    older, newer = person("upheld", decided=NOW - 9), person("dismissed", decided=NOW - 1)
    _ends(_decide(newer, older, exact(verdict(BAD))), CLEAN, Reason.OWN_CLEAR)


def test_1_a_dismissed_rule_is_taken_out_of_all_that_follows():
    dismissed = person("dismissed", kind=MatchKind.CONTENT)
    _ends(_decide(dismissed, exact(verdict(BAD))), CLEAN, Reason.OWN_CLEAR)
    _ends(_decide(dismissed, exact(verdict(GORY))), FLAGGED, Reason.OWN_FLAG)
    _ends(_decide(dismissed, exact(upheld(A)), exact(upheld(B))), UNKNOWN, Reason.NO_EVIDENCE)
    near_upheld = person("upheld", kind=MatchKind.NEAR)
    _ends(_decide(dismissed, near_upheld), UNKNOWN, Reason.NO_EVIDENCE)


def test_1_findings_never_expire():
    _ends(_decide(person("upheld", decided=1)), FLAGGED, Reason.PERSON_UPHELD)


def test_1_a_near_dismissal_settles_nothing():
    _ends(
        _decide(person("dismissed", kind=MatchKind.NEAR), exact(verdict(BAD))),
        FLAGGED,
        Reason.OWN_FLAG,
    )


# --- 2: our own flag -------------------------------------------------------------------------
def test_2_our_own_current_exact_verdict_flags():
    outcome = _decide(exact(verdict(BAD)))
    _ends(outcome, FLAGGED, Reason.OWN_FLAG)
    assert outcome.rules == ("pattern",)
    assert outcome.kind is MatchKind.EXACT
    assert [m.verdict for m in outcome.matches] == [verdict(BAD)]


def test_2_the_threshold_itself_flags():
    at = GOOD | {"test-pattern": 5_000}
    _ends(_decide(exact(verdict(at))), FLAGGED, Reason.OWN_FLAG)
    _ends(_decide(exact(verdict(at | {"test-pattern": 4_999}))), CLEAN, Reason.OWN_CLEAR)


def test_2_equal_content_flags_too_even_part_seen():
    part = verdict(BAD, sha256=OTHER, frames_seen=3, frames_total=9)
    _ends(_decide(content(part)), FLAGGED, Reason.OWN_FLAG)


def test_2_a_pipeline_in_shadow_has_no_effect():
    for match in (exact(verdict(BAD, pipeline=TRIAL)), near(verdict(BAD, pipeline=TRIAL))):
        _ends(_decide(match), UNKNOWN, Reason.NO_EVIDENCE)
    past = verdict(BAD, pipeline=TRIAL, expires=NOW)
    _ends(_decide(exact(past)), UNKNOWN, Reason.NO_EVIDENCE)


# --- 3: peers flag with quorum ---------------------------------------------------------------
def test_3_peers_flag_with_the_quorum():
    outcome = _decide(
        exact(verdict(BAD, A, feed=Feed.FLAGGED)), content(verdict(BAD, B, sha256=OTHER))
    )
    _ends(outcome, FLAGGED, Reason.PEERS_FLAG)
    assert {m.verdict.issuer for m in outcome.matches} == {A, B}


def test_3_a_peers_upheld_counts_for_its_rule():
    outcome = _decide(exact(upheld(A)), exact(verdict(BAD, B)))
    _ends(outcome, FLAGGED, Reason.PEERS_FLAG)


def test_3_no_single_peer_flags_alone_by_default():
    rows = [exact(upheld(A)), exact(verdict(BAD, A, feed=Feed.FLAGGED))]
    _ends(_decide(*rows), UNKNOWN, Reason.SUSPECTED)


def test_3_flags_of_different_rules_never_add_up():
    rows = [exact(verdict(BAD, A)), exact(verdict(GORY, B))]
    _ends(_decide(*rows), UNKNOWN, Reason.SUSPECTED)


def test_3_one_operator_counts_once_with_its_largest_weight():
    one = {A: trusted(flag=30, operator="x"), B: trusted(flag=50, operator="x"), C: trusted()}
    rows = [exact(verdict(BAD, A)), exact(verdict(BAD, B)), exact(verdict(BAD, C))]
    _ends(_decide(*rows, trust=one, flag_quorum=150), FLAGGED, Reason.PEERS_FLAG)
    _ends(_decide(*rows, trust=one, flag_quorum=151), UNKNOWN, Reason.SUSPECTED)


def test_3_an_operator_named_like_an_origin_is_not_that_origin():
    two = {A: trusted(), B: trusted(operator=A)}
    rows = [exact(verdict(BAD, A)), exact(verdict(BAD, B))]
    _ends(_decide(*rows, trust=two), FLAGGED, Reason.PEERS_FLAG)


def test_3_peers_against_our_own_clearing_verdict_are_for_review():
    rows = [exact(verdict(BAD, A)), exact(verdict(BAD, B)), exact(verdict(GOOD))]
    _ends(_decide(*rows), REVIEW, Reason.PEERS_CONTRADICT_OWN)


def test_3_label_weights_override_and_labels_not_heard_are_null():
    bad = exact(verdict(BAD, A, feed=Feed.FLAGGED))
    heavy = {A: trusted(flag=0, labels={"test-pattern": LabelTrust(flag=100)})}
    _ends(_decide(bad, trust=heavy, flag_quorum=100), FLAGGED, Reason.PEERS_FLAG)
    light = {A: trusted(flag=100, labels={"test-pattern": LabelTrust(flag=0)})}
    _ends(_decide(bad, trust=light, flag_quorum=100), UNKNOWN, Reason.NO_EVIDENCE)
    deaf = {A: trusted(heard=frozenset({"gore", "drawing"}))}
    _ends(_decide(bad, trust=deaf, flag_quorum=100), UNKNOWN, Reason.NO_EVIDENCE)


def test_3_a_rule_of_two_labels_weighs_as_much_as_the_weaker_one_it_needs():
    labels = {"gore": LabelTrust(flag=80), "drawing": LabelTrust(flag=30)}
    trust = {A: trusted(flag=0, labels=labels)}
    row = exact(verdict(GORY, A))
    _ends(_decide(row, trust=trust, flag_quorum=30), FLAGGED, Reason.PEERS_FLAG)
    _ends(_decide(row, trust=trust, flag_quorum=31), UNKNOWN, Reason.SUSPECTED)


# --- 4: near an upheld or flagged code, or flagged in the past --------------------------------
def test_4_near_a_picture_a_person_upheld_is_for_review_even_if_our_verdict_clears():
    outcome = _decide(person("upheld", kind=MatchKind.NEAR), exact(verdict(GOOD)))
    _ends(outcome, REVIEW, Reason.NEAR_UPHELD)
    assert outcome.kind is MatchKind.NEAR


@pytest.mark.parametrize(
    "past", [verdict(BAD, expires=NOW), verdict(BAD, pipeline=OLD), verdict(BAD, expires=1)]
)
def test_4_our_expired_or_retired_flag_is_for_review_unless_our_current_one_clears(past):
    _ends(_decide(exact(past)), REVIEW, Reason.OWN_PAST_FLAG)
    _ends(_decide(exact(past), exact(verdict(GOOD, pipeline=ALSO))), CLEAN, Reason.OWN_CLEAR)


def test_4_near_a_code_our_model_flagged_is_for_review_unless_our_current_one_clears():
    code = near(verdict(BAD, sha256=OTHER), 31)
    outcome = _decide(code)
    _ends(outcome, REVIEW, Reason.NEAR_OWN_FLAG)
    assert (outcome.kind, outcome.distance) == (MatchKind.NEAR, 31)
    _ends(_decide(code, exact(verdict(GOOD))), CLEAN, Reason.OWN_CLEAR)


def test_4_near_evidence_beats_the_clean_of_peers():
    rows = [near(verdict(BAD, sha256=OTHER)), exact(verdict(GOOD, A)), exact(verdict(GOOD, B))]
    _ends(_decide(*rows), REVIEW, Reason.NEAR_OWN_FLAG)


# --- 5: our own clear ------------------------------------------------------------------------
def test_5_our_own_current_exact_verdict_clears():
    _ends(_decide(exact(verdict(GOOD))), CLEAN, Reason.OWN_CLEAR)


def test_5_a_part_seen_verdict_is_clean_for_its_own_sha256_alone():
    part = verdict(GOOD, frames_seen=1, frames_total=2)
    _ends(_decide(exact(part)), CLEAN, Reason.OWN_CLEAR)
    _ends(_decide(content(part)), UNKNOWN, Reason.NO_EVIDENCE)
    _ends(_decide(content(part), can_scan=False), REVIEW, Reason.OWN_UNDETERMINED)


def test_5_an_expired_or_retired_clear_is_none():
    for gone in (verdict(GOOD, expires=NOW), verdict(GOOD, pipeline=OLD)):
        _ends(_decide(exact(gone)), UNKNOWN, Reason.NO_EVIDENCE)


def test_5_an_open_rule_is_scanned_while_a_scan_is_left_and_else_reviewed():
    by_other = exact(verdict(OPEN, pipeline=ALSO))
    _ends(_decide(by_other), UNKNOWN, Reason.NO_EVIDENCE)
    _ends(_decide(by_other, can_scan=False), REVIEW, Reason.OWN_UNDETERMINED)
    _ends(_decide(exact(verdict(OPEN))), REVIEW, Reason.OWN_UNDETERMINED)


# --- 6: suspicion ----------------------------------------------------------------------------
def test_6_exact_and_near_flags_of_one_rule_with_quorum_are_for_review():
    rows = [exact(verdict(BAD, A)), near(verdict(BAD, B, sha256=OTHER, feed=Feed.FLAGGED))]
    _ends(_decide(*rows), REVIEW, Reason.NEAR_QUORUM)


@pytest.mark.parametrize(
    "row",
    [
        exact(verdict(BAD, A)),
        near(verdict(BAD, A, sha256=OTHER, feed=Feed.FLAGGED)),
        probable(verdict(BAD, A, sha256=OTHER, feed=Feed.FLAGGED)),
        probable(verdict(BAD, sha256=OTHER)),
        person("upheld", kind=MatchKind.PROBABLE),
        person("escalated", kind=MatchKind.NEAR),
        exact(verdict(GOOD, A, feed=Feed.FLAGGED, pipeline=FOREIGN)),
        exact(verdict(BAD, A, feed=Feed.FLAGGED, pipeline=OLD)),
        exact(upheld(A, "a-rule-unknown-here")),
        near(upheld(A, "a-rule-unknown-here", sha256=OTHER)),
    ],
)
def test_6_a_suspicion_forbids_clean_by_reuse(row):
    peers = [exact(verdict(GOOD, B)), exact(verdict(GOOD, C))]
    trust = {A: trusted(), B: trusted(), C: trusted()}
    _ends(_decide(row, *peers, trust=trust), UNKNOWN, Reason.SUSPECTED)
    _ends(_decide(row, *peers, trust=trust, can_scan=False), REVIEW, Reason.SUSPECTED)
    _ends(_decide(row, *peers, exact(verdict(GOOD)), trust=trust), CLEAN, Reason.OWN_CLEAR)


def test_6_a_peer_whose_flags_weigh_nothing_raises_no_suspicion():
    rows = [
        exact(verdict(BAD, A)),
        near(verdict(BAD, A, sha256=OTHER)),
        exact(upheld(A, "a-rule-unknown-here")),
        exact(verdict(BAD, A, feed=Feed.FLAGGED, pipeline=FOREIGN)),
        exact(verdict(GOOD, B)),
    ]
    trust = {A: trusted(flag=0), B: trusted()}
    _ends(_decide(*rows, trust=trust), CLEAN, Reason.PEERS_CLEAR)


def test_6_a_peer_that_contradicts_itself_is_scanned():
    rows = [exact(verdict(GOOD, A)), exact(verdict(BAD, A, pipeline=ALSO, feed=Feed.FLAGGED))]
    _ends(_decide(*rows), UNKNOWN, Reason.SUSPECTED)


# --- 7: peers clear --------------------------------------------------------------------------
def test_7_a_peers_clean_feed_row_is_reused():
    for match in (exact(verdict(GOOD, A)), content(verdict(GOOD, A, sha256=OTHER))):
        outcome = _decide(match)
        _ends(outcome, CLEAN, Reason.PEERS_CLEAR)
        assert outcome.matches == (match,)


@pytest.mark.parametrize(
    "row",
    [
        near(verdict(GOOD, A), 0),
        probable(verdict(GOOD, A)),
        exact(verdict(GOOD, A, feed=Feed.FLAGGED)),
        exact(verdict(GOOD, A, pipeline=FOREIGN)),
        exact(verdict(GOOD, A, pipeline=OLD)),
        exact(verdict(GOOD, A, pipeline=TRIAL)),
        exact(verdict(GOOD, A, expires=NOW)),
        exact(verdict(OPEN, A)),
        exact(verdict({"test-pattern": 1, "gore": 1}, A)),
        exact(verdict(GOOD, A, frames_seen=1, frames_total=2)),
        exact(verdict(GOOD, "https://stranger.example")),
    ],
)
def test_7_what_is_no_clean_evidence(row):
    assert _decide(row).decision is UNKNOWN


def test_7_weights_add_up_to_the_quorum_exactly():
    trust = {A: trusted(clean=70), B: trusted(clean=29), C: trusted(clean=30)}
    two = [exact(verdict(GOOD, A)), exact(verdict(GOOD, B))]
    _ends(_decide(*two, trust=trust), UNKNOWN, Reason.NO_EVIDENCE)
    other = [exact(verdict(GOOD, A)), exact(verdict(GOOD, C))]
    _ends(_decide(*other, trust=trust), CLEAN, Reason.PEERS_CLEAR)


def test_7_many_rows_of_one_peer_count_once():
    rows = [exact(verdict(GOOD, A)), exact(verdict(GOOD, A, pipeline=ALSO))]
    _ends(_decide(*rows, trust={A: trusted(clean=50)}), UNKNOWN, Reason.NO_EVIDENCE)


@pytest.mark.parametrize("state", [PeerState.OBSERVED, PeerState.SUSPENDED])
def test_7_a_peer_that_is_not_trusted_weighs_nothing(state):
    trust = {A: Trust(clean=100, flag=100, state=state)}
    _ends(_decide(exact(verdict(GOOD, A)), trust=trust), UNKNOWN, Reason.NO_EVIDENCE)
    _ends(_decide(exact(verdict(BAD, A)), trust=trust), UNKNOWN, Reason.NO_EVIDENCE)


def test_7_a_row_older_than_the_peers_max_age_counts_as_expired():
    trust = {A: trusted(max_age_days=2)}
    at_limit = verdict(GOOD, A, issued=NOW - 2 * DAY)
    inside = verdict(GOOD, A, issued=NOW - 2 * DAY + 1)
    _ends(_decide(exact(at_limit), trust=trust), UNKNOWN, Reason.NO_EVIDENCE)
    _ends(_decide(exact(inside), trust=trust), CLEAN, Reason.PEERS_CLEAR)


def test_7_clean_is_heard_only_from_a_peer_heard_for_every_label_of_our_rules():
    row = exact(verdict(GOOD, A))
    deaf = {A: trusted(heard=frozenset({"test-pattern", "gore"}))}
    _ends(_decide(row, trust=deaf), UNKNOWN, Reason.NO_EVIDENCE)
    light = {A: trusted(labels={"drawing": LabelTrust(clean=99)})}
    _ends(_decide(row, trust=light), UNKNOWN, Reason.NO_EVIDENCE)
    full = {A: trusted(heard=frozenset({"test-pattern", "gore", "drawing"}))}
    _ends(_decide(row, trust=full), CLEAN, Reason.PEERS_CLEAR)


def test_7_without_a_scanner_one_peer_counts_half_the_quorum_at_most():
    one = [exact(verdict(GOOD, A))]
    off = {"has_scanner": False, "can_scan": False}
    _ends(_decide(*one, **off), UNKNOWN, Reason.NO_EVIDENCE)
    _ends(_decide(*one, exact(verdict(GOOD, B)), **off), CLEAN, Reason.PEERS_CLEAR)
    odd = {**off, "clean_quorum": 75}
    _ends(_decide(*one, exact(verdict(GOOD, B)), **odd), CLEAN, Reason.PEERS_CLEAR)


def test_7_the_audit_falls_under_the_largest_rate_of_those_counted():
    trust = {A: trusted(audit_rate=0.05), B: trusted(audit_rate=0.2), C: trusted(audit_rate=0.9)}
    rows = [exact(verdict(GOOD, A)), exact(verdict(GOOD, B))]
    on = {"trust": trust, "audits": True}
    _ends(_decide(*rows, throw=0.19, **on), UNKNOWN, Reason.AUDIT)
    _ends(_decide(*rows, throw=0.2, **on), CLEAN, Reason.PEERS_CLEAR)
    _ends(_decide(*rows, throw=0.0, trust=trust), CLEAN, Reason.PEERS_CLEAR)
    _ends(_decide(*rows, throw=0.0, can_scan=False, **on), CLEAN, Reason.PEERS_CLEAR)


def test_the_later_issued_row_of_a_key_stands_then_the_flagged_one_then_the_higher_seq():
    quorum = {"flag_quorum": 100}
    clean, bad = verdict(GOOD, A, seq=9), verdict(BAD, A, feed=Feed.FLAGGED, seq=1)
    _ends(_decide(exact(clean), exact(bad), **quorum), FLAGGED, Reason.PEERS_FLAG)
    later = verdict(GOOD, A, issued=NOW - 5)
    _ends(_decide(exact(later), exact(bad), **quorum), CLEAN, Reason.PEERS_CLEAR)
    renewed = verdict(BAD, A, seq=10)
    _ends(_decide(exact(renewed), exact(clean), **quorum), FLAGGED, Reason.PEERS_FLAG)
    gone = verdict(BAD, A, feed=Feed.FLAGGED, issued=NOW - 5, expires=NOW)
    _ends(_decide(exact(clean), exact(gone), **quorum), CLEAN, Reason.PEERS_CLEAR)


# --- 8: nothing ------------------------------------------------------------------------------
def test_8_without_evidence_it_is_unknown():
    outcome = decide(Evidence(), judgement(), now=NOW, can_scan=True)
    _ends(outcome, UNKNOWN, Reason.NO_EVIDENCE)
    assert outcome.kind is MatchKind.NONE


def twin(found, distance=4):
    return Match(MatchKind.TWIN, found, distance)


NEARLY = judgement(near_clean=NearClean.OWN)


def test_a_twin_that_our_own_verdict_clears_is_clean_where_the_admin_allows_it():
    found = Evidence(twins=(twin(verdict(GOOD)),))
    outcome = decide(found, NEARLY, now=NOW, can_scan=True, throw=0.9)
    assert (outcome.decision, outcome.reason) == (Decision.CLEAN, Reason.NEAR_CLEAN)
    assert "nearly (4 bits)" in explain(outcome)
    assert decide(found, judgement(), now=NOW, can_scan=True).decision is Decision.UNKNOWN


def test_a_twin_settles_nothing_where_our_own_verdict_on_the_picture_leaves_a_rule_open():
    open_here = exact(verdict(OPEN, pipeline=ALSO))
    found = Evidence((open_here,), twins=(twin(verdict(GOOD, sha256=OTHER)),))
    assert decide(found, NEARLY, now=NOW, can_scan=True, throw=0.9).decision is Decision.UNKNOWN


def test_a_near_clean_hit_is_audited_five_times_as_often():
    found = Evidence(twins=(twin(verdict(GOOD, A)),))
    peers = judgement(near_clean=NearClean.PEERS, audits=True, trust={A: trusted(audit_rate=0.1)})
    for throw, decision in ((0.49, Decision.UNKNOWN), (0.5, Decision.CLEAN)):
        outcome = decide(found, peers, now=NOW, can_scan=True, throw=throw)
        assert outcome.decision is decision


def test_a_peers_verdict_on_a_twin_counts_only_where_peers_are_allowed():
    found = Evidence(twins=(twin(verdict(GOOD, A)),))
    assert decide(found, NEARLY, now=NOW, can_scan=True, throw=0.9).decision is Decision.UNKNOWN


def test_past_the_blast_radius_a_peer_only_asks_for_review():
    found = evidence(*(exact(verdict(BAD, peer, feed=Feed.FLAGGED)) for peer in (A, B)))
    outcome = decide(found, judgement(tripped=frozenset({A})), now=NOW, can_scan=True)
    assert (outcome.decision, outcome.reason) == (Decision.REVIEW, Reason.BLAST_RADIUS)
    assert decide(found, judgement(), now=NOW, can_scan=True).decision is Decision.FLAGGED


def test_what_a_person_dismissed_is_told_with_what_is_decided_without_it():
    outcome = decide(
        evidence(exact(verdict(BAD)), person("dismissed")), judgement(), now=NOW, can_scan=True
    )
    assert (outcome.decision, outcome.dismissed) == (Decision.CLEAN, ("pattern",))
    assert explain(outcome) == "Our own verdict clears every rule. A person here dismissed pattern."
