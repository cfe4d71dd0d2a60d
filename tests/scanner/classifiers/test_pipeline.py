"""The pipeline's description and id, and the arithmetic of scores."""

import hashlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.classifiers.classifier import combine, to_score
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import FIELDS, describe, pipeline_id
from scanner.errors import ModelError
from scanner.policy import load_policy

DESCRIPTION = describe(
    architecture="a", policy="b", precision="fp32", preprocessing="c", weights="d"
)


def test_the_id_is_the_digest_of_the_canonical_description():
    text = '{"architecture":"a","policy":"b","precision":"fp32","preprocessing":"c","weights":"d"}'
    assert pipeline_id(DESCRIPTION) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_counts_for_the_id(field):
    assert pipeline_id({**DESCRIPTION, field: "other"}) != pipeline_id(DESCRIPTION)


@pytest.mark.parametrize(
    "wrong",
    [{}, {**DESCRIPTION, "more": "x"}, {**DESCRIPTION, "weights": 1}, {"architecture": "a"}],
)
def test_a_description_of_other_fields_is_refused(wrong):
    with pytest.raises(ValueError, match="pipeline"):
        pipeline_id(wrong)


def test_the_bundled_pipeline_is_known_without_torch():
    description = bundled_pipeline(load_policy("test"))
    assert set(description) == set(FIELDS)
    assert len(description["weights"]) == len(description["policy"]) == 64
    assert "/" not in description["architecture"]
    if "scanner.classifiers.clip" not in sys.modules:
        assert "torch" not in sys.modules


def test_a_picture_has_the_largest_score_of_its_frames():
    assert combine([{"a": 1, "b": 9}, {"a": 5, "b": 2}]) == {"a": 5, "b": 9}


@pytest.mark.parametrize("frames", [[], [{"a": 1}, {"b": 1}]])
def test_frames_that_cannot_be_combined_are_refused(frames):
    with pytest.raises(ValueError, match="frame"):
        combine(frames)


@pytest.mark.parametrize(
    ("probability", "score"),
    [(0.0, 0), (1.0, 10_000), (0.5, 5000), (0.00005, 0), (0.00025, 2), (1.0000001, 10_000)],
)
def test_scores_are_rounded_half_to_even(probability, score):
    assert to_score(probability) == score


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_no_score(broken):
    """A damaged model must never make a picture clean."""
    with pytest.raises(ModelError, match="damaged"):
        to_score(broken)


@given(st.floats(0, 1))
def test_scores_stay_in_range(probability):
    assert 0 <= to_score(probability) <= 10_000
