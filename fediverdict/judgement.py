"""Joins what the admin decided (config, policy, trust tables) into one `Judgement`.

Rules and thresholds come from the policy file; `[rules]` adds to them or replaces one by name,
`[pipelines.ID]` lists another pipeline with thresholds of its own. The pipelines of the shipped
policies with the bundled model are listed already, so that two fresh installs understand each
other. Trust is read again from the database when it is older than a second.
"""

import time
from collections.abc import Mapping

from sqlalchemy import Connection

from cache.errors import RuleError
from cache.judgement import Judgement, PipelineState, PipelineTerms, Trust
from cache.rules import Rule, parse
from cache.settings import hundredths
from cache.trust import load_trust
from fediverdict.config import Config
from fediverdict.errors import ConfigError
from scanner.engine import pipeline_of
from scanner.pipeline import pipeline_id
from scanner.policy import Policy, load_policy, shipped_policies

TRUST_SECONDS = 1.0


class Judgements:
    """Gives the judgement of now; a change of trust shows within a second."""

    def __init__(self, config: Config, policy: Policy) -> None:
        self.config, self.policy = config, policy
        self.rule_texts = {**policy.rules, **config.rules}
        self.rules = {name: _rule(name, text, policy) for name, text in self.rule_texts.items()}
        self.pipelines = _pipelines(config, policy)
        self._read_at = float("-inf")
        self._judgement = self._with({})

    def current(self, connection: Connection) -> Judgement:
        """Return what deciding needs now; reads the trust tables at most once a second."""
        if time.monotonic() - self._read_at > TRUST_SECONDS:
            self._judgement = self._with(load_trust(connection))
            self._read_at = time.monotonic()
        return self._judgement

    def _with(self, trust: Mapping[str, Trust]) -> Judgement:
        return Judgement(
            rules=self.rules,
            pipelines=self.pipelines,
            trust=trust,
            clean_quorum=hundredths(self.config.decide.clean_quorum),
            flag_quorum=hundredths(self.config.decide.flag_quorum),
            audits=self.config.trust.audit != "off",
            has_scanner=self.config.scanner.enabled,
        )


def _rule(name: str, text: str, policy: Policy) -> Rule:
    try:
        rule = parse(text)
    except RuleError as error:
        raise ConfigError(f"the rule {name} cannot be read: {error}") from error
    strange = sorted(rule.labels - set(policy.labels))
    if strange:
        raise ConfigError(f"the rule {name} names {strange[0]}, which the policy does not score")
    return rule


def _pipelines(config: Config, policy: Policy) -> dict[str, PipelineTerms]:
    terms = {}
    for shipped in map(load_policy, shipped_policies()):
        description = pipeline_of(config.scanner.model_copy(update={"model": "bundled"}), shipped)
        terms[pipeline_id(description)] = PipelineTerms(shipped.thresholds())
    for name, listed in config.pipelines.items():
        terms[name] = PipelineTerms(listed.thresholds, PipelineState(listed.state))
    if config.scanner.enabled:
        own = pipeline_id(pipeline_of(config.scanner, policy))
        terms[own] = PipelineTerms(policy.thresholds(), PipelineState.DEFAULT)
    return terms
