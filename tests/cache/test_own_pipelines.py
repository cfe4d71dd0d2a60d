"""Which of our own pipelines is in use, and which are retired."""

from cache.judgement import PipelineState
from cache.own_pipelines import load_own_pipelines, remember_own_pipeline


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


def test_using_a_pipeline_again_takes_its_new_thresholds(store):
    remember(store, "aa", "model", 1, threshold=5000)
    remember(store, "aa", "model", 2, threshold=7000)
    assert store.read_now(load_own_pipelines, "model")["aa"].thresholds == {"shape": 7000}
