"""The eight steps, written a second time from design.md, "Deciding": slow, naive, on its own.

Shares with the code under test nothing but its data types and rule trees: it reads rules by
trying every completion of the unknown labels, and adds weights by picking the largest per operator.
"""

from itertools import product
from typing import Any

from cache.judgement import PeerState, PipelineState
from cache.rules import And, Label, Not
from cache.verdict import SELF, Basis, Decision, Feed, Finding, MatchKind

EXACT = (MatchKind.EXACT, MatchKind.CONTENT)
DAY = 86_400


def reference(evidence, judgement, *, now, can_scan, throw=0.0):
    return _Reference(evidence, judgement, now, can_scan, throw).decision()


class _Reference:
    def __init__(self, evidence, judgement, now, can_scan, throw):
        self.j, self.now, self.throw = judgement, now, throw
        self.findings, self.cut = evidence.findings, evidence.cut
        self.compared, self.twins = evidence.compared, evidence.twins
        self.own = [m for m in evidence.matches if m.verdict.issuer == SELF]
        alive = [m for m in evidence.matches if m.verdict.issuer != SELF and self._expires(m) > now]
        self.peers = [m for m in alive if not any(self._beats(o, m) for o in alive)]
        self.peers = list({self._state_key(m): m for m in self.peers}.values())
        done = any(
            self._state(m) is PipelineState.DEFAULT and self._alive(m) and self._same_bytes(m)
            for m in self.own
        )
        self.can_scan = can_scan and not done

    def decision(self):
        newest: dict[Any, Any] = {}
        for f in self.findings:
            if f.kind in EXACT:
                newest.setdefault(f.rule, []).append(f)
        last = {rule: max(f.decided for f in fs) for rule, fs in newest.items()}
        said = {r: {f.finding for f in fs if f.decided == last[r]} for r, fs in newest.items()}
        if any(Finding.UPHELD in s for s in said.values()):
            return Decision.FLAGGED  # 1
        if any(Finding.ESCALATED in s for s in said.values()):
            return Decision.REVIEW
        self.rules = {n: r for n, r in self.j.rules.items() if n not in said}
        self.said = said
        return (
            self.two()
            or self.three()
            or self.four()
            or self.five()
            or self.six()
            or self.seven()
            or self.nearly()
            or Decision.UNKNOWN
        )  # 8

    def two(self):
        if any(self.flags(m.verdict) for m in self.current()):
            return Decision.FLAGGED
        return None

    def three(self):
        if not self.some_rule_reaches(EXACT):
            return None
        calm = self.some_rule_reaches(EXACT, without=self.j.tripped)  # "Blast radius"
        return Decision.FLAGGED if calm and not self.own_clears() else Decision.REVIEW

    def four(self):
        for f in self.findings:
            near = f.kind is MatchKind.NEAR and f.rule not in self.said
            scanned_first = f.rule == "test-card" and self.can_scan and not self.own_clears()
            if near and f.finding is Finding.UPHELD and not scanned_first:
                return Decision.REVIEW
        if self.own_clears():
            return None
        for m in self.own:
            state = self._state(m)
            past = not self._alive(m) or state is PipelineState.RETIRED
            if state is PipelineState.SHADOW or not self.flags(m.verdict):
                continue
            if (m.kind in EXACT and past) or m.kind is MatchKind.NEAR:
                return Decision.REVIEW
        return None

    def five(self):
        if self.own_clears():
            return Decision.CLEAN
        if self.current() and not self.can_scan:
            return Decision.REVIEW
        return None

    def six(self):
        if self.some_rule_reaches((*EXACT, MatchKind.NEAR)):
            return Decision.REVIEW
        doubt = any(self.weight(m, rule) for m in self.peers for rule in self.rules)
        doubt |= any(self.unweighable(m) for m in self.peers)
        doubt |= self.cut  # "A query that passes its work limit ends in unknown"
        doubt |= any(
            m.kind is MatchKind.PROBABLE
            and self._state(m) is not PipelineState.SHADOW
            and self.flags(m.verdict)
            for m in self.own
        )
        doubt |= any(
            f.kind not in EXACT and f.rule not in self.said and f.finding is not Finding.DISMISSED
            for f in self.findings
        )
        if doubt:
            return Decision.UNKNOWN if self.can_scan else Decision.REVIEW
        return None

    def seven(self):
        counted = [m for m in self.peers if m.kind in EXACT and self.clean(m) > 0]
        limit = 10**9 if self.j.has_scanner else self.j.clean_quorum / 2
        groups: dict[Any, Any] = {}
        for m in counted:
            group = self._group(m)
            groups[group] = max(groups.get(group, 0), min(self.clean(m), limit))
        if not counted or sum(groups.values()) < self.j.clean_quorum:
            return None
        rate = max(self.j.trust_in(m.verdict.issuer).audit_rate for m in counted)
        if self.j.audits and self.can_scan and self.throw < rate:
            return Decision.UNKNOWN
        if not self.compared:  # "the first hit pays the perceptual path once"
            return Decision.UNKNOWN
        return Decision.CLEAN

    def nearly(self):
        """`decide.near_clean`: a twin of what is clean here, and nothing flagged within 40."""
        if self.j.near_clean == "off" or not self.compared or self.current():
            return None
        for m in self.peers:
            trust = self.j.trust_in(m.verdict.issuer)
            weights = [trust.flag, *(t.flag or 0 for t in trust.labels.values())]
            heard = trust.state is PeerState.TRUSTED and trust.heard and max(weights) > 0
            if m.kind not in EXACT and heard:
                return None
        alive = [m for m in self.twins if m.verdict.issuer == SELF or self._expires(m) > self.now]
        last = [m for m in alive if not any(self._beats(o, m) for o in alive)]
        last = list({self._state_key(m): m for m in last}.values())
        bad = {m.verdict.sha256 for m in last if self.speaks_against(m)}
        last = [m for m in last if m.verdict.sha256 not in bad]
        makers = [m for m in last if m.verdict.issuer == SELF and self.own_twin(m)]
        if not makers and self.j.near_clean == "peers":
            makers = self.twin_of_peers(last)
        if not makers:
            return None
        rates = [5 * self.j.trust_in(m.verdict.issuer).audit_rate for m in makers]
        audited = self.throw < max([self.j.near_clean_audit, *rates])
        audited = audited and self.j.audits and self.can_scan
        return Decision.UNKNOWN if audited else Decision.CLEAN

    def speaks_against(self, m):
        if m.verdict.issuer == SELF:
            return self._state(m) is not PipelineState.SHADOW and self.flags(m.verdict)
        return self.unweighable(m) or any(self.weight(m, rule) for rule in self.rules)

    def own_twin(self, m):
        current = self._state(m) in (PipelineState.DEFAULT, PipelineState.ACCEPTED)
        whole = m.verdict.frames_seen >= m.verdict.frames_total
        cleared = all(self.truth(rule, m.verdict) is False for rule in self.rules.values())
        return current and whole and cleared and self._alive(m)

    def twin_of_peers(self, twins):
        theirs = [m for m in twins if m.verdict.issuer != SELF and self._expires(m) > self.now]
        limit = 10**9 if self.j.has_scanner else self.j.clean_quorum / 2
        for picture in sorted({m.verdict.sha256 for m in theirs}):
            counted = [m for m in theirs if m.verdict.sha256 == picture and self.clean(m) > 0]
            groups: dict[Any, Any] = {}
            for m in counted:
                group = self._group(m)
                groups[group] = max(groups.get(group, 0), min(self.clean(m), limit))
            if counted and sum(groups.values()) >= self.j.clean_quorum:
                return counted
        return []

    # --- reading verdicts
    def truth(self, rule, verdict, hears=lambda label: True):
        """True or False where every completion of the unknown labels says so, else None.

        Kleene's logic is not supervaluation: `a or not a` differs; the rules used here name a
        label once each, for which both are the same.
        """
        terms = self.j.pipelines.get(verdict.pipeline)
        known = {}
        for label in rule.labels:
            score = verdict.scores.get(label)
            threshold = terms.thresholds.get(label) if terms else None
            if score is not None and threshold is not None and hears(label):
                known[label] = score >= threshold
        open_labels = sorted(rule.labels - set(known))
        results = {
            _evaluate(rule.node, known | dict(zip(open_labels, values, strict=True)))
            for values in product((False, True), repeat=len(open_labels))
        }
        return results.pop() if len(results) == 1 else None

    def flags(self, verdict):
        return any(self.truth(rule, verdict) for rule in self.rules.values())

    def current(self):
        states = (PipelineState.DEFAULT, PipelineState.ACCEPTED)
        return [
            m for m in self.own if m.kind in EXACT and self._alive(m) and self._state(m) in states
        ]

    def own_clears(self):
        return any(
            all(self.truth(rule, m.verdict) is False for rule in self.rules.values())
            and (m.kind is MatchKind.EXACT or m.verdict.frames_seen >= m.verdict.frames_total)
            for m in self.current()
        )

    def weight(self, m, name):
        """The largest weight w at which the rule is still true by the labels of weight >= w."""
        trust, verdict, rule = self.j.trust_in(m.verdict.issuer), m.verdict, self.rules[name]
        if verdict.basis is Basis.HUMAN:
            return min(self._label_weight(trust, x, "flag") for x in rule.labels) * (
                verdict.rule == name and verdict.finding is Finding.UPHELD
            )
        if self._state(m) not in (PipelineState.DEFAULT, PipelineState.ACCEPTED):
            return 0
        return max(
            (
                w
                for w in range(1, 101)
                if self.truth(
                    rule, verdict, lambda x, w=w: self._label_weight(trust, x, "flag") >= w
                )
            ),
            default=0,
        )

    def clean(self, m):
        v, trust = m.verdict, self.j.trust_in(m.verdict.issuer)
        states = (PipelineState.DEFAULT, PipelineState.ACCEPTED)
        fits = v.feed is Feed.CLEAN and v.basis is Basis.MODEL and self._state(m) in states
        if not fits or v.frames_seen < v.frames_total:
            return 0
        labels = {x for rule in self.rules.values() for x in rule.labels}
        known = self.j.pipelines[v.pipeline].thresholds
        if any(v.scores.get(x) is None or x not in known for x in labels):
            return 0
        if any(self.truth(rule, v) is not False for rule in self.rules.values()):
            return 0
        return min([self._label_weight(trust, x, "clean") for x in labels or {""}])

    def some_rule_reaches(self, kinds, without=frozenset()):
        for name in self.rules:
            groups: dict[Any, Any] = {}
            for m in self.peers:
                if m.kind in kinds and m.verdict.issuer not in without:
                    group = self._group(m)
                    groups[group] = max(groups.get(group, 0), self.weight(m, name))
            if sum(groups.values()) >= self.j.flag_quorum:
                return True
        return False

    def unweighable(self, m):
        trust, v = self.j.trust_in(m.verdict.issuer), m.verdict
        flags = [trust.flag, *(t.flag or 0 for t in trust.labels.values())]
        if trust.state is not PeerState.TRUSTED or max(flags) <= 0 or not trust.heard:
            return False
        if v.feed is not Feed.FLAGGED:
            return False
        if v.basis is Basis.HUMAN:
            return v.rule not in self.j.rules
        return self._state(m) not in (PipelineState.DEFAULT, PipelineState.ACCEPTED)

    # --- small things
    def _group(self, m):
        operator = self.j.trust_in(m.verdict.issuer).operator
        return ("operator", operator) if operator else ("origin", m.verdict.issuer)

    def _label_weight(self, trust, label, which):
        if trust.state is not PeerState.TRUSTED:
            return 0
        if "*" not in trust.heard and label not in trust.heard:
            return 0
        special = getattr(trust.labels[label], which) if label in trust.labels else None
        return getattr(trust, which) if special is None else special

    def _weighs(self, trust, label, weight):
        return self._label_weight(trust, label, "flag") >= weight

    def _state(self, m):
        terms = self.j.pipelines.get(m.verdict.pipeline)
        return terms.state if terms else None

    def _alive(self, m):
        return m.verdict.expires > self.now

    def _expires(self, m):
        days = self.j.trust_in(m.verdict.issuer).max_age_days
        return min(m.verdict.expires, m.verdict.issued + days * DAY)

    def _same_bytes(self, m):
        whole = m.verdict.frames_seen >= m.verdict.frames_total
        return m.kind is MatchKind.EXACT or (m.kind is MatchKind.CONTENT and whole)

    def _state_key(self, m):
        v = m.verdict
        return (v.issuer, v.sha256, v.pipeline, v.basis, v.rule)

    def _beats(self, one, other):
        if self._state_key(one) != self._state_key(other):
            return False

        def order(m):
            return (m.verdict.issued, m.verdict.feed is Feed.FLAGGED, m.verdict.seq or 0)

        return order(one) > order(other)


def _evaluate(node, values):
    if isinstance(node, Label):
        return values[node.name]
    if isinstance(node, Not):
        return not _evaluate(node.part, values)
    combine = all if isinstance(node, And) else any
    return combine(_evaluate(part, values) for part in node.parts)
