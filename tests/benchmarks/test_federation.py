"""The simulated federation obeys its laws: nothing is saved without trust, nothing wrong without
liars, the same seed gives the same run, and what is decided is what the real `decide` decides.
"""

import itertools
import json
import random
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace

import numpy as np
import pytest

from benchmarks import federation
from benchmarks.federated import simulate, svg
from benchmarks.federated.cost import PAGE_SIZES, fitted, page_bytes
from benchmarks.federated.deciding import CHECK_EVERY, Decider, Said, Terms, throw_of
from benchmarks.federated.plan import plan
from benchmarks.federated.simulate import PAGE_ROWS, Policy, run
from benchmarks.federated.trusting import VETERAN, Peer
from benchmarks.federated.world import Sightings, World, draw
from cache.outcome import Outcome, Reason
from cache.verdict import Decision

WORLD = World(60, 1_500, abusive_share=0.05)
MET = draw(WORLD)


def simulated(**changes):
    return run(MET, WORLD.instances, replace(Policy(), **changes))


def as_numbers(result):
    return {name: np.asarray(value).tolist() for name, value in vars(result).items()}


def met(*times, instances=None, origins=None, pictures=None):
    """Return sightings by hand; instance 0 posts picture 0, the others meet it, unless told."""
    count = len(times)
    return Sightings(
        np.array(times, dtype=np.float64),
        np.array(instances or range(count)),
        np.array(pictures or [0] * count),
        np.array(origins or [0] * count),
        np.zeros(max(pictures or [0]) + 1, dtype=np.bool_),
        0,
    )


# --- laws ------------------------------------------------------------------------------------
def test_with_no_peer_trusted_every_picture_is_scanned():
    result = simulated(trusted=0)
    assert result.saved == 0
    assert result.scanned.sum() == result.met.sum() == len(MET)


def test_without_hostile_peers_no_decision_is_wrong_and_no_weight_ends():
    for terms in (Terms(), Terms(100, 100), Terms(200, 200), Terms(audits=False)):
        result = simulated(terms=terms)
        assert (result.wrong_clean, result.wrong_review, result.wrong_flagged) == (0, 0, 0)
        assert result.demoted_honest == result.demoted_hostile == 0


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    policy = Policy(hostile_share=0.1, terms=Terms(100, 100))
    first = as_numbers(run(MET, WORLD.instances, policy))
    assert as_numbers(run(draw(WORLD), WORLD.instances, policy)) == first
    assert as_numbers(run(MET, WORLD.instances, replace(policy, seed=2))) != first
    assert len(draw(replace(WORLD, seed=2))) != len(MET)


def test_more_trusted_peers_save_more():
    saved = [simulated(trusted=number).saved for number in (0, 1, 5, 20)]
    assert saved == sorted(saved)
    assert saved[1] > 0.1


def test_asking_the_origin_saves_what_comes_before_its_page():
    alone = simulated(ask_origin=False, grace_seconds=0.0)
    assert simulated(grace_seconds=0.0).saved > alone.saved


def test_audits_cost_scans_and_new_peers_cost_more_of_them():
    off = simulated(terms=Terms(audits=False)).saved
    veterans, new = simulated().saved, simulated(compared=0).saved
    assert off > veterans > new


def test_audits_and_quorums_let_fewer_lies_through():
    off = simulated(hostile_share=0.2, terms=Terms(audits=False), demotes=False)
    on, two = (simulated(hostile_share=0.2, compared=0, terms=t) for t in (Terms(), Terms(200)))
    assert off.wrong_clean > on.wrong_clean >= two.wrong_clean
    assert on.demoted_hostile > 0
    assert on.demoted_honest == 0


def test_one_hostile_peer_flags_nothing_alone_at_the_default_quorum():
    """Whoever trusts a single peer at most cannot be made to flag by it."""
    alone = simulated(trusted=1, hostile_share=0.3, poisoned_share=0.5)
    assert alone.hostile_trusted > 0
    assert alone.wrong_flagged == alone.wrong_review == 0
    one = simulated(trusted=1, hostile_share=0.3, poisoned_share=0.5, terms=Terms(100, 100))
    assert one.wrong_flagged > 0


def test_an_instance_that_takes_no_part_is_neither_counted_nor_trusted():
    result = simulated(taking_part=0.5)
    absent = result.met == 0
    assert absent.sum() == WORLD.instances // 2
    assert result.published[absent].sum() == 0


# --- pages -----------------------------------------------------------------------------------
@pytest.mark.parametrize(("at", "reused"), [(62.9, 0), (63.1, 1)])
def test_a_page_counts_when_it_was_sealed_and_pushed_and_not_before(at, reused):
    """A scan takes 1 s, the page is sealed 60 s later and pushed within 2."""
    policy = Policy(ask_origin=False, grace_seconds=0.0, terms=Terms(audits=False))
    result = run(met(0, at), 2, policy)
    assert result.reasons[Reason.PEERS_CLEAR] == reused


def test_the_origin_answers_before_its_page_is_there():
    policy = Policy(grace_seconds=0.0, terms=Terms(audits=False))
    assert run(met(0, 5), 2, policy).reasons[Reason.PEERS_CLEAR] == 1
    unrelated = met(0, 5, 6, 7, instances=[0, 1, 2, 1], origins=[0, 0, 2, 2], pictures=[0, 0, 1, 2])
    assert run(unrelated, 3, policy).reasons[Reason.PEERS_CLEAR] == 1


def test_a_picture_of_a_trusted_peer_waits_for_the_page():
    policy = Policy(ask_origin=False, grace_seconds=90.0, terms=Terms(audits=False))
    assert run(met(0, 5), 2, policy).reasons[Reason.PEERS_CLEAR] == 1


@pytest.mark.parametrize(("rows", "pages"), [(PAGE_ROWS, 1), (PAGE_ROWS + 1, 2)])
def test_a_page_has_a_thousand_rows_at_most(rows, pages):
    sightings = met(*[0.01 * n for n in range(rows)], instances=[0] * rows, pictures=[*range(rows)])
    assert run(sightings, 1, Policy(seal_seconds=3_600.0)).pages.tolist() == [pages]


def test_a_page_is_sealed_when_its_oldest_row_is_old_enough():
    sightings = met(0, 59, 61, instances=[0, 0, 0], pictures=[0, 1, 2])
    assert run(sightings, 1, Policy(seal_seconds=60.0)).pages.tolist() == [2]


# --- deciding --------------------------------------------------------------------------------
def test_what_is_remembered_is_what_the_real_decide_decides():
    """Also for evidence that differs from the remembered one in order, rates and throw."""
    kinds = [
        Said(flags, w, w, rate) for flags in (False, True) for w in (0, 100) for rate in (0.05, 0.6)
    ]
    for terms in (Terms(), Terms(200, 200), Terms(100, 100, audits=False)):
        remembering = Decider(terms)
        for said in itertools.product(kinds, repeat=3):
            for throw, own in itertools.product((0.01, 0.3, 0.9), (None, False, True)):
                fresh = Decider(terms).decide(said, throw, own, can_scan=own is None)
                known = remembering.decide(said, throw, own, can_scan=own is None)
                assert (known.decision, known.reason) == (fresh.decision, fresh.reason)
        assert remembering.distinct < remembering.asked / 10


def test_a_remembered_answer_that_is_wrong_is_noticed():
    decider, said = Decider(Terms()), [Said(False, 100, 100, 0.05)]
    decider.decide(said, 0.9)
    [key] = decider._known
    decider._known[key] = Outcome(Decision.FLAGGED, Reason.PEERS_FLAG)
    with pytest.raises(AssertionError):
        for _ in range(CHECK_EVERY):
            decider.decide(said, 0.9)


def test_the_throw_is_even_and_falls_the_same_way_again():
    throws = [throw_of(b"s" * 32, picture) for picture in range(2_000)]
    assert throws == [throw_of(b"s" * 32, picture) for picture in range(2_000)]
    assert 0.46 < sum(throws) / len(throws) < 0.54


# --- trust -----------------------------------------------------------------------------------
def test_a_new_peer_is_always_audited_and_a_veteran_at_the_floor():
    assert Peer(0.05, 0).said(flags=False).audit_rate == 1.0
    assert Peer(0.05, VETERAN).said(flags=False).audit_rate == 0.05


def test_a_second_false_clean_ends_the_weight():
    peer = Peer(0.05, VETERAN)
    assert not peer.compare(flags=False, truth=True)
    assert peer.said(flags=False).audit_rate == 1.0
    assert peer.compare(flags=False, truth=True)
    assert peer.said(flags=False).clean_weight == 0


def test_flags_that_never_agree_end_their_weight_at_thirty():
    peer = Peer(0.05, 0)
    fell = [peer.compare(flags=True, truth=False) for _ in range(30)]
    assert fell == [False] * 29 + [True]


# --- the world -------------------------------------------------------------------------------
def test_a_world_is_sorted_and_each_instance_meets_a_picture_once():
    assert (np.diff(MET.when) >= 0).all()
    pairs = set(zip(MET.instance.tolist(), MET.picture.tolist(), strict=True))
    assert len(pairs) == len(MET)
    assert 0 <= MET.instance.min() <= MET.instance.max() < WORLD.instances
    assert MET.picture.max() < len(MET.abusive)


def test_the_poster_of_a_picture_meets_it_first():
    first: dict[int, tuple[int, int]] = {}
    for instance, picture, origin in zip(
        MET.instance.tolist(), MET.picture.tolist(), MET.origin.tolist(), strict=True
    ):
        first.setdefault(picture, (instance, origin))
    assert all(instance == origin for instance, origin in first.values())


def test_hostile_instances_have_about_the_share_of_trust_asked_for():
    result = simulated(hostile_share=0.2)
    pairs = sum(map(len, simulate.trust_of(MET, WORLD.instances, Policy())))
    assert 0.1 < result.hostile_trusted / pairs < 0.25


# --- bytes and pictures ----------------------------------------------------------------------
def test_the_bytes_of_an_attestation_are_those_of_real_pages():
    measured = page_bytes()
    assert measured == page_bytes()
    for feed in ("clean", "flagged"):
        by_row = [one.by_row for one in measured if one.feed == feed]
        assert len(by_row) == len(PAGE_SIZES)
        assert by_row == sorted(by_row, reverse=True)
        a_page, a_row = fitted(measured, feed)
        [ten] = [one for one in measured if (one.feed, one.rows) == (feed, 10)]
        assert abs(a_page + 10 * a_row - ten.sent) < 0.02 * ten.sent


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_chart_is_xml_that_names_its_lines_and_is_the_same_each_time(logarithmic):
    lines = [svg.Line(f"<{n}> & more", [(0, 0), (1, n), (50, 10 * n)]) for n in range(7)]
    chart = svg.Chart("a <b>", "x", "y", lines, top=60, logarithmic=logarithmic)
    drawn = svg.draw(chart)
    assert drawn == svg.draw(chart)
    texts = [text for node in ET.fromstring(drawn).iter() if (text := node.text)]
    assert all(line.name in texts for line in lines)
    assert "prefers-color-scheme:dark" in drawn


def test_no_point_is_drawn_outside_of_its_chart():
    rng = random.Random(1)
    points = [(float(n), rng.uniform(0, 200)) for n in range(20)]
    root = ET.fromstring(svg.draw(svg.Chart("t", "x", "y", [svg.Line("l", points)], top=100)))
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert svg.LEFT <= float(circle.attrib["cx"]) <= svg.WIDTH - svg.RIGHT
        assert svg.TOP - 4 <= float(circle.attrib["cy"]) <= svg.HEIGHT


# --- the program -----------------------------------------------------------------------------
def test_every_run_of_the_plan_differs_from_the_others():
    runs = [repr((one.figure, one.line, one.x)) for one in plan((10, 1_000))]
    assert len(set(runs)) == len(runs)
    assert max(one.world.instances for one in plan((10, 1_000, 10_000))) == 10_000


def test_the_program_writes_its_json_and_its_pictures(tmp_path, capsys):
    arguments = ["--instances", "3,30", "--quick", "--processes", "1", "--into", str(tmp_path)]
    assert federation.main(arguments) == 0
    shown = json.loads((tmp_path / "federation.json").read_text("utf-8"))
    assert {row["verdict"] for row in shown["rows"]} == {None, "met"}
    assert all(run["saved"] == 0 for run in shown["runs"] if run["policy"]["trusted"] == 0)
    assert shown["runs"][0]["world"] == asdict(plan((3, 30), federation.QUICK)[0].world)
    assert len(list(tmp_path.glob("federation-*.svg"))) == 10
    assert "saved with no peer trusted" in capsys.readouterr().out


@pytest.mark.parametrize("sizes", ["2", "", "x", "10,2"])
def test_a_federation_has_at_least_three_instances(sizes):
    with pytest.raises(SystemExit):
        federation.main(["--instances", sizes])
