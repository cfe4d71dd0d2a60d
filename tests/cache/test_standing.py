"""`explain` says of each verdict what it counts for here, or why for nothing."""

import pytest

from cache.judgement import PeerState, Trust
from cache.standing import counts_as
from cache.verdict import Feed
from tests.cache.pictures import (
    BAD,
    DAY,
    FOREIGN,
    GOOD,
    NOW,
    OLD,
    OURS,
    TRIAL,
    A,
    B,
    content,
    exact,
    judgement,
    near,
    trusted,
    upheld,
    verdict,
)

PEERS = {A: trusted(clean=50, flag=70), B: Trust(clean=100, flag=100, state=PeerState.SUSPENDED)}


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (exact(verdict(GOOD)), "our pipeline in use"),
        (exact(verdict(BAD, expires=NOW)), "our pipeline in use, expired"),
        (exact(verdict(BAD, pipeline=OLD)), "a retired pipeline: only its flags are remembered"),
        (exact(verdict(BAD, pipeline=TRIAL)), "a pipeline in shadow: no effect"),
        (exact(verdict(GOOD, pipeline=FOREIGN)), "its pipeline is not known here"),
        (content(verdict(GOOD, A)), "clears by 0.5"),
        (near(verdict(GOOD, A)), "nothing: no weight for it here"),
        (near(verdict(BAD, A, feed=Feed.FLAGGED)), "flags pattern by 0.7"),
        (exact(upheld(A, "gory")), "flags gory by 0.7"),
        (exact(upheld(A, "strange")), "a flag by a rule or pipeline unknown here: asks for a scan"),
        (exact(verdict(GOOD, A, pipeline=FOREIGN)), "nothing: its pipeline is not listed here"),
        (exact(verdict(GOOD, A, expires=NOW)), "nothing: expired"),
        (exact(verdict(GOOD, A, issued=NOW - 181 * DAY)), "nothing: expired"),
        (exact(verdict(GOOD, B, pipeline=OURS)), "nothing: the peer is suspended"),
        (exact(verdict(GOOD, "https://new.example")), "nothing: the peer is observed"),
    ],
)
def test_what_a_verdict_counts_for(match, said):
    assert counts_as(match, judgement(trust=PEERS), now=NOW) == said
