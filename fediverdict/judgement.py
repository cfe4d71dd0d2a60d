"""Joins what the admin decided (config, policy, trust tables) into one `Judgement`.

Rules and thresholds come from the policy file; `[rules]` adds to them or replaces one by name,
`[pipelines.ID]` lists another pipeline with thresholds of its own. The policy `test` with the
bundled model is listed already, so that two fresh installs understand each other. What the
tables say is read again when it is older than a second.
"""

import time

from sqlalchemy import Connection

from cache.errors import RuleError
from cache.judgement import Judgement, PipelineState, PipelineTerms
from cache.own_pipelines import load_own_pipelines, remember_own_pipeline
from cache.record import settle_if_changed
from cache.rules import Rule, is_label, parse
from cache.settings import hundredths
from cache.trust import load_trust
from fediverdict.config import BUNDLED, Config
from fediverdict.errors import ConfigError
from scanner.engine import bundled_pipeline
from scanner.pipeline import pipeline_id
from scanner.policy import Policy, load_policy

TABLE_SECONDS = 1.0
TEST = "test"


class Judgements:
    """Gives the judgement of now; a change of trust shows within a second."""

    def __init__(self, config: Config, policy: Policy, *, has_scanner: bool = True) -> None:
        _refuse_untaught(config, policy)
        self.config, self.policy = config, policy
        self.rule_texts = {**policy.rules, **config.rules}
        self.rules = {name: _rule(name, text, policy) for name, text in self.rule_texts.items()}
        self._has_scanner = has_scanner
        self._listed = _listed(config)
        self._read_at = float("-inf")
        self._judgement: Judgement | None = None

    def current(self, connection: Connection) -> Judgement:
        """Return what deciding needs now; reads the tables at most once a second."""
        if self._judgement is None or time.monotonic() - self._read_at > TABLE_SECONDS:
            self._judgement = self._read(connection)
            self._read_at = time.monotonic()
        return self._judgement

    def adopt(self, connection: Connection, pipeline: str, now: int) -> Judgement:
        """Note that scans are made with `pipeline` from now on, and return the judgement.

        It is not kept here: the transaction may yet roll back, and others must not see it sooner.
        """
        terms = PipelineTerms(self._own_thresholds(pipeline), PipelineState.DEFAULT)
        if self._read(connection).pipelines.get(pipeline) != terms:
            remember_own_pipeline(
                connection,
                pipeline,
                settings=self._settings,
                thresholds=terms.thresholds,
                now=now,
            )
            settle_if_changed(connection, self._read(connection), now=now)
        return self._read(connection)

    def forget(self) -> None:
        """Read the tables anew at the next call; to be called when an adoption is committed."""
        self._judgement = None

    def settle(self, connection: Connection, now: int) -> None:
        """Let the near-match codes follow rules or thresholds that an admin changed."""
        settle_if_changed(connection, self.current(connection), now=now)

    @property
    def _settings(self) -> str:
        scanner = self.config.scanner
        return f"{self.policy.digest()} {scanner.model} {scanner.architecture or ''}".strip()

    def _own_thresholds(self, pipeline: str) -> dict[str, int]:
        listed = self.config.pipelines.get(pipeline)
        return listed.thresholds if listed else self.policy.thresholds()

    def _read(self, connection: Connection) -> Judgement:
        own = load_own_pipelines(connection, self._settings)
        return Judgement(
            rules=self.rules,
            pipelines={**self._listed, **self._in_force(own)},
            trust=load_trust(connection),
            clean_quorum=hundredths(self.config.decide.clean_quorum),
            flag_quorum=hundredths(self.config.decide.flag_quorum),
            audits=self.config.trust.audit != "off",
            has_scanner=self._has_scanner,
        )

    def _in_force(self, own: dict[str, PipelineTerms]) -> dict[str, PipelineTerms]:
        """Return our pipelines; the one in use takes the thresholds of today."""
        return {
            name: PipelineTerms(self._own_thresholds(name), terms.state)
            if terms.state is PipelineState.DEFAULT
            else terms
            for name, terms in own.items()
            if terms.state is PipelineState.DEFAULT or name not in self._listed
        }


def _refuse_untaught(config: Config, policy: Policy) -> None:
    """Refuse the bundled model where a policy asks for more than it was taught."""
    strange = sorted(set(policy.labels) - set(load_policy(TEST).labels))
    if config.scanner.enabled and config.scanner.model == BUNDLED and strange:
        raise ConfigError(
            f"the bundled model knows test patterns only, but the policy {policy.name} asks for "
            f"{strange[0]}; set scanner.model to a real model, e.g. ViT-L-14/openai"
        )


def _rule(name: str, text: str, policy: Policy) -> Rule:
    if not is_label(name):
        raise ConfigError(f"a rule cannot be called {name!r}: use lower-case letters and hyphens")
    try:
        rule = parse(text)
    except RuleError as error:
        raise ConfigError(f"the rule {name} cannot be read: {error}") from error
    strange = sorted(rule.labels - set(policy.labels))
    if strange:
        raise ConfigError(f"the rule {name} names {strange[0]}, which the policy does not score")
    return rule


def _listed(config: Config) -> dict[str, PipelineTerms]:
    """Return the pipelines listed beforehand: the shipped one, and those of the config."""
    shipped = load_policy(TEST)
    terms = {pipeline_id(bundled_pipeline(shipped)): PipelineTerms(shipped.thresholds())}
    for name, listed in config.pipelines.items():
        terms[name] = PipelineTerms(listed.thresholds, PipelineState(listed.state))
    return terms
