"""`peers trust`: what is given changes, the rest stays; no suspension is lifted by chance."""

from cache.judgement import LabelTrust, PeerState, Trust
from fediverdict.cli.peers import _weighted

TRUSTED = Trust(clean=100, flag=50, state=PeerState.TRUSTED)


def test_a_weight_that_is_not_given_stays():
    assert _weighted(TRUSTED, None, 0, ()) == Trust(clean=100, flag=0, state=PeerState.TRUSTED)


def test_a_label_keeps_the_weight_that_is_not_given():
    trust = _weighted(TRUSTED, 0, None, ("gore",))
    trust = _weighted(trust, None, 70, ("gore",))
    assert trust.labels == {"gore": LabelTrust(0, 70)}


def test_without_any_weight_a_peer_is_observed():
    assert _weighted(TRUSTED, 0, 0, ()).state is PeerState.OBSERVED


def test_lowering_a_weight_lifts_no_suspension_and_raising_one_does():
    suspended = Trust(clean=100, flag=50, state=PeerState.SUSPENDED)
    assert _weighted(suspended, None, 0, ()).state is PeerState.SUSPENDED
    assert _weighted(suspended, 0, None, ("gore",)).state is PeerState.SUSPENDED
    assert _weighted(suspended, 50, None, ()).state is PeerState.TRUSTED
