"""Joins what the admin decided (config, policy, trust tables) into one `Judgement`.

Rules and thresholds come from the policy file, the thresholds by `scanner.strictness`; `[rules]`
adds to them or replaces one by name, `[pipelines.ID]` lists another pipeline with thresholds of
its own. The policy `test` with the bundled model is listed already, so that two fresh installs
understand each other. What the tables say is read again when it is older than a second. The
pipeline of `[scanner.shadow]` is read by the thresholds of its own policy, and changes no decision.
Peers past the blast radius (`cache.guards.blast`) are told of by the writer that is handed in.
"""

import time
from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from cache.errors import RuleError
from cache.guards.blast import HOUR_SECONDS, BlastRadius, tell_tripped
from cache.guards.guards import Later, log_failure
from cache.judgement import Judgement, NearClean, PipelineState, PipelineTerms, label_truth
from cache.memory.own_pipelines import (
    load_own_pipelines,
    refresh_thresholds,
    remember_own_pipeline,
    remember_shadow_pipeline,
    shadow_in_use,
)
from cache.memory.record import settle_if_changed
from cache.rules import Rule, is_label, parse
from cache.settings import hundredths
from cache.storage.snapshot import Snapshot, snapshot_of
from cache.testcard import RULE as TEST_CARD
from cache.trust.trust import load_trust
from fediverdict.config import BUNDLED, Config
from fediverdict.errors import ConfigError
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.policy import Policy, load_policy
from scanner.settings import ScannerSettings, ShadowSettings

TABLE_SECONDS = 1.0
TEST = "test"


class Judgements:
    """Gives the judgement of now; a change of trust shows within a second."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        *,
        has_scanner: bool = True,
        clock: Callable[[], float] = time.time,
        later: Later | None = None,
    ) -> None:
        _refuse_untaught(config.scanner, policy, "scanner.model")
        self.config, self.policy = config, policy
        self.rule_texts = {**policy.rules, **config.rules}
        self.rules = {name: _rule(name, text, policy) for name, text in self.rule_texts.items()}
        self._has_scanner = has_scanner
        shadow = config.scanner.shadow
        self._shadow_policy = load_policy(shadow.policy) if shadow.enabled else None
        if self._shadow_policy is not None:
            _refuse_untaught(shadow, self._shadow_policy, "scanner.shadow.model")
        self._listed = _listed(config)
        self._clock, self._later = clock, later
        self._blast = BlastRadius(config.trust)
        self._told: dict[str, int] = {}  # when the admin was last told of a peer
        self._read_at = float("-inf")
        self._read_in: Snapshot | None = None
        self._judgement: Judgement | None = None
        self._forgotten = 0  # how often; who began to read before has read too soon

    def current(self, connection: Connection, *, knowing: str | None = None) -> Judgement:
        """Return what deciding needs now.

        The tables are read at most once a second, and on SQLite only after a commit, or while a
        peer is past the blast radius: that ends by itself. `knowing` is a pipeline of ours that
        was adopted before this connection began to read: a transaction that is older than the
        adoption, in another thread, may have left a judgement without it.
        """
        snapshot, held, forgotten = snapshot_of(connection), self._judgement, self._forgotten
        if held is not None and (knowing is None or self._knows(held, knowing)):
            if snapshot is not None and snapshot is self._read_in and not held.tripped:
                return held
            if time.monotonic() - self._read_at <= TABLE_SECONDS:
                return held
        judgement = self._read(connection)
        self._tell(judgement.tripped)
        if forgotten == self._forgotten:
            self._judgement = judgement
            self._read_at, self._read_in = time.monotonic(), snapshot
        return judgement

    def adopt(
        self, connection: Connection, pipeline: str, now: int, *, family: str = ""
    ) -> Judgement:
        """Note that scans are made with `pipeline` from now on, and return the judgement.

        `family` is equal for those that differ in precision alone. The judgement
        is not kept here: the transaction may yet roll back, and others must not see it sooner.
        """
        terms = self._terms_in_use(pipeline)
        before = self._read(connection)
        if before.pipelines.get(pipeline) == terms:
            return before
        remember_own_pipeline(
            connection,
            pipeline,
            settings=self._settings,
            thresholds=terms.thresholds,
            now=now,
            family=family,
        )
        judgement = self._read(connection)
        settle_if_changed(connection, judgement, now=now)
        return judgement

    def adopt_shadow(self, connection: Connection, pipeline: str, now: int) -> Judgement | None:
        """Note that `pipeline` scores in shadow from now on, and return the judgement.

        None, and nothing noted, where its scores count already: it decides here, decided here
        before, or is listed under [pipelines]. Then there is nothing to be tried.
        """
        listed = self._listed.get(pipeline)
        if listed is not None and listed.state is not PipelineState.SHADOW:
            return None
        noted = remember_shadow_pipeline(
            connection,
            pipeline,
            settings=self.shadow_settings,
            thresholds=self._shadow_thresholds(pipeline),
            now=now,
        )
        return self._read(connection) if noted else None

    def forget_unless_known(self, pipeline: str) -> None:
        """Read the tables anew at the next call, should they have told nothing of the pipeline.

        To be called when an adoption is committed.
        """
        held = self._judgement
        if held is None or not self._knows(held, pipeline):
            self.forget()

    def forget(self) -> None:
        """Read the tables anew at the next call: what is asked then was changed just now."""
        self._judgement = None
        self._forgotten += 1

    def breaks_a_rule(self, scores: Mapping[str, int], pipeline: str) -> bool:
        """Tell whether the scores of a pipeline that scans here break a rule of ours."""
        terms = PipelineTerms(self._own_thresholds(pipeline))
        return any(
            rule.truth(lambda label: label_truth(scores, terms, label))
            for rule in self.rules.values()
        )

    def settle(self, connection: Connection, now: int) -> None:
        """Let what is stored follow rules or thresholds that an admin changed."""
        for name, terms in load_own_pipelines(connection, self._settings).items():
            wanted = self._own_thresholds(name)
            if terms.state is PipelineState.DEFAULT and terms.thresholds != wanted:
                refresh_thresholds(connection, name, wanted)
        settle_if_changed(connection, self.current(connection), now=now)

    @property
    def _settings(self) -> str:
        return _settings_text(self.config.scanner, self.policy)

    @property
    def shadow_settings(self) -> str:
        """What the pipeline in shadow is remembered by: its policy and model, as configured."""
        shadow = self.config.scanner.shadow
        return _settings_text(shadow, self._shadow_policy or load_policy(shadow.policy))

    def _knows(self, held: Judgement, pipeline: str) -> bool:
        return held.pipelines.get(pipeline) == self._terms_in_use(pipeline)

    def _terms_in_use(self, pipeline: str) -> PipelineTerms:
        return PipelineTerms(self._own_thresholds(pipeline), PipelineState.DEFAULT)

    def _own_thresholds(self, pipeline: str) -> dict[str, int]:
        listed = self.config.pipelines.get(pipeline)
        policy, strictness = self.policy, self.config.scanner.strictness
        return listed.thresholds if listed else policy.thresholds(strictness)

    def _shadow_thresholds(self, pipeline: str) -> dict[str, int]:
        listed = self.config.pipelines.get(pipeline)
        policy = self._shadow_policy or load_policy(self.config.scanner.shadow.policy)
        return listed.thresholds if listed else policy.thresholds(self.config.scanner.strictness)

    def _read(self, connection: Connection) -> Judgement:
        own = load_own_pipelines(connection, self._settings)
        if (
            self._shadow_policy is not None
            and (shadow := shadow_in_use(connection, self.shadow_settings)) is not None
        ):
            own[shadow] = PipelineTerms(self._shadow_thresholds(shadow), PipelineState.SHADOW)
        return Judgement(
            rules=self.rules,
            pipelines={**self._listed, **self._in_force(own)},
            trust=load_trust(connection),
            clean_quorum=hundredths(self.config.decide.clean_quorum),
            flag_quorum=hundredths(self.config.decide.flag_quorum),
            audits=self.config.trust.audit != "off",
            has_scanner=self._has_scanner,
            near_clean=NearClean(self.config.decide.near_clean),
            near_clean_audit=min(1.0, 5 * self.config.peers.defaults.audit_rate),
            tripped=self._blast.tripped(connection, int(self._clock())),
        )

    def _tell(self, tripped: frozenset[str]) -> None:
        """Let the admin be told of peers past the blast radius, once an hour each."""
        now = int(self._clock())
        new = [origin for origin in tripped if self._told.get(origin, 0) <= now - HOUR_SECONDS]
        if self._later is not None and new:
            self._later(tell_tripped, new, now).add_done_callback(log_failure)
            self._told |= dict.fromkeys(new, now)

    def _in_force(self, own: dict[str, PipelineTerms]) -> dict[str, PipelineTerms]:
        """Return our pipelines; the one in use takes the thresholds of today."""
        return {
            name: PipelineTerms(self._own_thresholds(name), terms.state)
            if terms.state is PipelineState.DEFAULT
            else terms
            for name, terms in own.items()
            if terms.state is PipelineState.DEFAULT or name not in self._listed
        }


def _refuse_untaught(
    settings: ScannerSettings | ShadowSettings, policy: Policy, setting: str
) -> None:
    """Refuse the bundled model where a policy asks for more than it was taught."""
    strange = sorted(set(policy.labels) - set(load_policy(TEST).labels))
    if settings.enabled and settings.model == BUNDLED and strange:
        raise ConfigError(
            f"the bundled model knows test patterns only, but the policy {policy.name} asks for "
            f"{strange[0]}; set {setting} to a real model, e.g. ViT-L-14/openai"
        )


def _settings_text(settings: ScannerSettings | ShadowSettings, policy: Policy) -> str:
    return f"{policy.digest()} {settings.model} {settings.architecture or ''}".strip()


def _rule(name: str, text: str, policy: Policy) -> Rule:
    if not is_label(name):
        raise ConfigError(f"a rule cannot be called {name!r}: use lower-case letters and hyphens")
    if name == TEST_CARD:
        raise ConfigError(f"{name} is the rule of the test card; call yours otherwise")
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
    thresholds = shipped.thresholds(config.scanner.strictness)
    terms = {pipeline_id(bundled_pipeline(shipped)): PipelineTerms(thresholds)}
    for name, listed in config.pipelines.items():
        terms[name] = PipelineTerms(listed.thresholds, PipelineState(listed.state))
    return terms
