"""What the config makes of the dial, of shadow mode and of the test card, in the judgement."""

import time

import pytest

from cache.judgement import PipelineState
from cache.memory.record import pipeline_row, record_image, record_verdict
from cache.memory.seeding import is_seeded
from cache.storage.tables import codes
from cache.testcard import CARD
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.errors import ConfigError
from fediverdict.judgement import Judgements
from fediverdict.parts import build_judge
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.policy import load_policy
from scanner.settings import ScannerSettings, shadow_settings
from tests.cache.memory.test_record_and_lookup import own_verdict
from tests.cache.prints import DESCRIPTION, OURS, THEIRS, fingerprint

NOW = int(time.time())
TEST = load_policy("test")
BUNDLED_TEST = pipeline_id(bundled_pipeline(TEST))


def judgements(**tables):
    return Judgements(Config.model_validate(tables), TEST)


def scanner(**settings):
    return {"scanner": settings}


def shadowing(**more):
    shadow = {"enabled": True, "policy": "default", "model": "ViT-L-14/openai"}
    return judgements(scanner={"shadow": shadow}, **more)


@pytest.mark.parametrize(
    ("strictness", "threshold"), [("strict", 2500), ("balanced", 5000), ("lenient", 7500)]
)
def test_the_dial_sets_the_thresholds_of_our_own_pipeline_and_of_the_shipped_one(
    sqlite_store, strictness, threshold
):
    found = judgements(**scanner(strictness=strictness))
    adopted = sqlite_store.write_now(found.adopt, OURS, NOW)
    assert adopted.pipelines[OURS].thresholds["test-pattern"] == threshold
    assert adopted.pipelines[BUNDLED_TEST].thresholds["test-pattern"] == threshold


def test_thresholds_listed_in_the_config_stand_instead_of_the_dial(sqlite_store):
    found = judgements(
        **scanner(strictness="strict"), pipelines={OURS: {"thresholds": {"shape": 7}}}
    )
    adopted = sqlite_store.write_now(found.adopt, OURS, NOW)
    assert adopted.pipelines[OURS].thresholds == {"shape": 7}


def test_the_near_codes_follow_the_dial_at_the_next_start(sqlite_store):
    picture = fingerprint("picture")

    def scanned(connection):
        judgement = judgements().adopt(connection, OURS, NOW)
        pipeline_row(connection, DESCRIPTION)
        record_image(connection, picture, now=NOW)
        scores = {"test-pattern": 4_000, "shape": 0}
        record_verdict(connection, own_verdict(scores, picture, issued=NOW), judgement, now=NOW)

    def stands(strictness):
        sqlite_store.write_now(judgements(**scanner(strictness=strictness)).settle, NOW)
        rows = sqlite_store.read_now(lambda c: c.execute(codes.select()).all())
        return any(row.pdq == picture.pdq and not row.withdrawn for row in rows)

    sqlite_store.write_now(scanned)
    assert [stands(s) for s in ("balanced", "strict", "lenient")] == [False, True, False]


def test_a_pipeline_in_shadow_is_read_by_its_own_policy_and_never_decides(sqlite_store):
    found = shadowing()
    sqlite_store.write_now(found.adopt, OURS, NOW)
    judgement = sqlite_store.write_now(found.adopt_shadow, THEIRS, NOW)
    assert judgement.pipelines[THEIRS].state is PipelineState.SHADOW
    assert judgement.pipelines[THEIRS].thresholds == load_policy("default").thresholds()
    assert judgement.pipelines[OURS].state is PipelineState.DEFAULT
    off = sqlite_store.read_now(judgements().current)
    assert off.pipelines[THEIRS].state is PipelineState.SHADOW  # its flags are not remembered


def test_a_pipeline_whose_scores_count_already_does_not_go_into_shadow(sqlite_store):
    found = shadowing(pipelines={"ab" * 32: {"thresholds": {}}})
    sqlite_store.write_now(found.adopt, OURS, NOW)
    for pipeline in (OURS, BUNDLED_TEST, "ab" * 32):
        assert sqlite_store.write_now(found.adopt_shadow, pipeline, NOW) is None
    now = sqlite_store.read_now(found.current)
    assert now.pipelines[OURS].state is PipelineState.DEFAULT
    assert now.pipelines[BUNDLED_TEST].state is PipelineState.ACCEPTED


def test_the_bundled_model_is_refused_in_shadow_by_a_policy_it_was_not_taught():
    with pytest.raises(ConfigError, match=r"set scanner\.shadow\.model to a real model"):
        judgements(scanner={"shadow": {"enabled": True, "policy": "default"}})
    judgements(scanner={"shadow": {"enabled": False, "policy": "default"}})


def test_the_classifier_in_shadow_is_loaded_by_its_own_model_and_policy():
    shadow = {"policy": "default", "model": "ViT-L-14/openai", "weights_sha256": "0" * 64}
    settings = ScannerSettings.model_validate({"batch": 3, "shadow": shadow})
    found = shadow_settings(settings)
    assert (found.policy, found.model, found.batch) == ("default", "ViT-L-14/openai", 3)
    assert (found.weights_sha256, found.architecture) == ("0" * 64, None)


def test_no_rule_of_the_config_may_be_called_like_that_of_the_test_card():
    with pytest.raises(ConfigError, match="test-card is the rule of the test card"):
        judgements(rules={"test-card": "shape"})


async def test_whoever_builds_a_judge_seeds_the_test_card_once(store):
    config = Config.model_validate(scanner(enabled=False))
    for can_scan in (False, True):
        judge = build_judge(config, store, can_scan=can_scan)
        assert store.read_now(is_seeded)
        assert (await judge.look_up(CARD)).outcome.decision is Decision.FLAGGED
    rows = store.read_now(lambda c: c.execute(codes.select()).all())
    assert len(rows) == 1
