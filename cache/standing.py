"""Says in a few words what a verdict counts for here, for `explain`; decides nothing.

It reads the same terms as `decide` does, through `weigh`.
"""

from cache import weigh
from cache.judgement import Judgement, PeerState, PipelineState
from cache.verdict import SELF, Basis, Feed, Match

_OWN = {
    None: "its pipeline is not known here",
    PipelineState.DEFAULT: "our pipeline in use",
    PipelineState.ACCEPTED: "a pipeline accepted here",
    PipelineState.RETIRED: "a retired pipeline: only its flags are remembered",
    PipelineState.SHADOW: "a pipeline in shadow: no effect",
}


def counts_as(match: Match, judgement: Judgement, *, now: int) -> str:
    """Return what the verdict counts for at `now`, or why it counts for nothing."""
    verdict = match.verdict
    if verdict.issuer == SELF:
        state = terms.state if (terms := judgement.terms(verdict)) else None
        return _OWN[state] + (", expired" if verdict.expires <= now else "")
    trust = judgement.trust_in(verdict.issuer)
    if weigh.expires(verdict, trust) <= now:
        return "nothing: expired"
    if trust.state is not PeerState.TRUSTED:
        return f"nothing: the peer is {trust.state}"
    return _of_trusted(match, judgement)


def _of_trusted(match: Match, judgement: Judgement) -> str:
    verdict, rules = match.verdict, judgement.rules
    flags = weigh.flag_weights(verdict, rules, judgement)
    if flags:
        return ", ".join(f"flags {name} by {weight / 100:g}" for name, weight in flags.items())
    if weigh.cannot_weigh(verdict, judgement):
        return "a flag by a rule or pipeline unknown here: asks for a scan"
    terms = judgement.terms(verdict)
    if verdict.basis is Basis.MODEL and (terms is None or not terms.current):
        return "nothing: its pipeline is not listed here"
    weight = weigh.clean_weight(verdict, rules, judgement)
    if match.kind in weigh.EXACT_KINDS and verdict.feed is Feed.CLEAN and weight:
        return f"clears by {weight / 100:g}"
    return "nothing: no weight for it here"
