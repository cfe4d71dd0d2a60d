"""The settings of the cache: limits, refusals, hundredths."""

import pytest
from pydantic import ValidationError

from cache.settings import (
    DatabaseSettings,
    DecideSettings,
    PeerDefaults,
    ReuseSettings,
    TrustSettings,
    hundredths,
)

MODELS = [DatabaseSettings, DecideSettings, PeerDefaults, ReuseSettings, TrustSettings]


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_key_is_refused_and_nothing_can_be_changed(model):
    with pytest.raises(ValidationError, match="not permitted"):
        model(unheard_of=1)
    settings = model()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(model.model_fields)), 1)


def test_near_clean_is_off_unless_it_is_widened():
    assert DecideSettings().near_clean == "off"
    for value in ("off", "own", "peers"):
        assert DecideSettings.model_validate({"near_clean": value}).near_clean == value
    for wrong in ("on", "", "OWN", True):
        with pytest.raises(ValidationError, match="'off', 'own' or 'peers'"):
            DecideSettings.model_validate({"near_clean": wrong})


def test_audits_are_adaptive_unless_switched_off():
    assert TrustSettings().audit == "adaptive"
    assert TrustSettings(audit="off").audit == "off"
    with pytest.raises(ValidationError, match="'adaptive' or 'off'"):
        TrustSettings.model_validate({"audit": "always"})


@pytest.mark.parametrize("name", ["clean_weight", "flag_weight", "audit_rate", "min_agreement"])
def test_weights_lie_between_0_and_1(name):
    for inside in (0.0, 0.01, 1.0):
        assert getattr(PeerDefaults.model_validate({name: inside}), name) == inside
    for outside in (-0.01, 0.004, 1.01, float("nan")):
        with pytest.raises(ValidationError):
            PeerDefaults.model_validate({name: outside})


@pytest.mark.parametrize(
    ("model", "name"), [(PeerDefaults, "max_age_days"), (ReuseSettings, "verdict_days")]
)
def test_days_lie_between_1_and_366(model, name):
    for inside in (1, 366):
        assert getattr(model(**{name: inside}), name) == inside
    for outside in (0, 367):
        with pytest.raises(ValidationError):
            model(**{name: outside})


@pytest.mark.parametrize("name", ["clean_quorum", "flag_quorum"])
def test_a_quorum_is_a_hundredth_at_least(name):
    assert getattr(DecideSettings.model_validate({name: 0.01}), name) == 0.01
    assert getattr(DecideSettings.model_validate({name: 100.0}), name) == 100.0
    for outside in (0.0, 0.001, 100.01):
        with pytest.raises(ValidationError):
            DecideSettings.model_validate({name: outside})


def test_floats_of_the_file_become_whole_hundredths():
    assert [hundredths(x) for x in (0.0, 0.29, 0.57, 1.0, 2.0)] == [0, 29, 57, 100, 200]


def test_the_writers_memory_is_bounded_on_both_sides():
    assert DatabaseSettings(cache_mib=2).cache_mib == 2
    assert DatabaseSettings(cache_mib=65_536).cache_mib == 65_536
    for wrong in (1, 65_537, "much"):
        with pytest.raises(ValidationError):
            DatabaseSettings.model_validate({"cache_mib": wrong})
