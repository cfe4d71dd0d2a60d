"""Which of our own pipelines is in use, and which are retired."""

from cache.judgement import PipelineState
from cache.memory.own_pipelines import (
    load_own_pipelines,
    remember_own_pipeline,
    remember_shadow_pipeline,
    shadow_in_use,
)


def remember(store, pipeline, settings, now, threshold=5000):
    store.write_now(
        remember_own_pipeline, pipeline, settings=settings, thresholds={"shape": threshold}, now=now
    )


def states(store, settings):
    found = store.read_now(load_own_pipelines, settings)
    return {name: terms.state for name, terms in found.items()}


def test_the_pipeline_of_the_settings_in_force_is_the_default_and_others_are_retired(store):
    remember(store, "aa", "old model", 1)
    remember(store, "bb", "new model", 2)
    retired, default = PipelineState.RETIRED, PipelineState.DEFAULT
    assert states(store, "new model") == {"aa": retired, "bb": default}
    assert states(store, "old model") == {"aa": default, "bb": retired}
    assert states(store, "never used") == {"aa": retired, "bb": retired}


def test_a_checkpoint_that_changed_under_one_name_retires_the_one_before(store):
    remember(store, "aa", "same path", 1)
    remember(store, "bb", "same path", 2)
    assert states(store, "same path") == {
        "aa": PipelineState.RETIRED,
        "bb": PipelineState.DEFAULT,
    }


def test_precisions_of_one_model_are_in_use_together_and_retired_together(store):
    for name, family, now in (("aa", "f", 1), ("bb", "f", 2), ("cc", "g", 3)):
        store.write_now(
            remember_own_pipeline, name, settings="s", thresholds={}, now=now, family=family
        )
        if now == 2:
            assert states(store, "s") == dict.fromkeys(("aa", "bb"), PipelineState.DEFAULT)
    retired = PipelineState.RETIRED
    assert states(store, "s") == {"aa": retired, "bb": retired, "cc": PipelineState.DEFAULT}


def test_using_a_pipeline_again_takes_its_new_thresholds(store):
    remember(store, "aa", "model", 1, threshold=5000)
    remember(store, "aa", "model", 2, threshold=7000)
    assert store.read_now(load_own_pipelines, "model")["aa"].thresholds == {"shape": 7000}


def shadowed(store, pipeline, settings, now, threshold=5000):
    return store.write_now(
        remember_shadow_pipeline,
        pipeline,
        settings=settings,
        thresholds={"shape": threshold},
        now=now,
    )


def test_a_pipeline_in_shadow_is_never_the_default_though_its_settings_are_those_in_force(store):
    remember(store, "aa", "model", 1)
    assert shadowed(store, "bb", "model", 2)
    default, shadow = PipelineState.DEFAULT, PipelineState.SHADOW
    assert states(store, "model") == {"aa": default, "bb": shadow}
    assert store.read_now(shadow_in_use, "model") == "bb"
    assert store.read_now(shadow_in_use, "another") is None


def test_the_last_of_several_in_shadow_is_in_use_and_all_stay_in_shadow(store):
    for number, name in enumerate(("aa", "bb", "cc")):
        assert shadowed(store, name, "model", number)
    assert shadowed(store, "bb", "model", 9, threshold=7000)
    assert store.read_now(shadow_in_use, "model") == "bb"
    assert set(states(store, "model").values()) == {PipelineState.SHADOW}
    assert store.read_now(load_own_pipelines, "x")["bb"].thresholds == {"shape": 7000}


def test_a_pipeline_that_decided_here_does_not_go_into_shadow(store):
    """What it flagged would be forgotten."""
    remember(store, "aa", "old model", 1)
    assert not shadowed(store, "aa", "old model", 2, threshold=1)
    found = store.read_now(load_own_pipelines, "new model")["aa"]
    assert (found.state, found.thresholds) == (PipelineState.RETIRED, {"shape": 5000})
