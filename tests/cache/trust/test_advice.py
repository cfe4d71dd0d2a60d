"""What a record speaks for: more by the lower bound, less by the upper one, never with few."""

import pytest

from cache.judgement import LabelTrust, PeerState, Trust
from cache.trust.advice import Advice, advise
from cache.trust.agreement import MIN_COMPARISONS, wilson
from cache.trust.track_record import Counts, TrackRecord


def record(label="", **counts):
    return TrackRecord({label: Counts(**counts)})


def test_nothing_is_advised_without_a_record():
    assert advise(Trust(), TrackRecord()) == []


@pytest.mark.parametrize(
    ("compared", "weight"), [(72, None), (73, 50), (149, 50), (150, 100), (9_999, 100)]
)
def test_more_is_advised_once_the_lower_bound_is_high_enough(compared, weight):
    found = advise(Trust(), record(clean_compared=compared))
    assert [one.weight for one in found] == ([] if weight is None else [weight])


def test_no_more_is_advised_than_a_peer_has_already():
    trust = Trust(clean=50, flag=100, state=PeerState.TRUSTED)
    found = advise(trust, record(clean_compared=75, flag_compared=9_999, flag_agreed=9_999))
    assert found == []


def test_few_comparisons_advise_nothing_however_good_or_bad():
    few = MIN_COMPARISONS - 1
    trust = Trust(clean=10, flag=10, state=PeerState.TRUSTED, min_agreement=0.5)
    assert advise(trust, record(flag_compared=few, flag_agreed=0)) == []
    assert advise(trust, record(flag_compared=few, flag_agreed=few)) == []
    assert advise(trust, record(flag_compared=few + 1, flag_agreed=few + 1)) != []


def test_less_is_advised_for_the_label_where_a_peer_fails():
    trust = Trust(flag=100, state=PeerState.TRUSTED, labels={"shape": LabelTrust(flag=0)})
    bad = Counts(flag_compared=40, flag_agreed=20)
    good = Counts(flag_compared=4_000, flag_agreed=3_980)
    found = advise(trust, TrackRecord({"": good, "gore": bad, "shape": bad}))
    assert found == [Advice("flag", "gore", 0, 20, 40)]
    assert found[0].bounds == wilson(20, 40)


def test_nothing_less_is_advised_for_a_peer_that_weighs_nothing():
    assert advise(Trust(), record(flag_compared=40, flag_agreed=0)) == []
