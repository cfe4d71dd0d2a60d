"""Any ONNX classifier by config alone: every knob of its table, and every way to get one wrong."""

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image
from pydantic import ValidationError

from scanner.classifiers.engine import load_classifier
from scanner.classifiers.fetching import file_sha256
from scanner.classifiers.pipeline import pipeline_id
from scanner.errors import ModelError
from scanner.policy import load_policy
from scanner.settings import OnnxModelSettings, ScannerSettings
from tests.scanner.classifiers.onnx_graphs import mean_colour

POLICY = load_policy("test")
OUTPUTS = ("plain", "bars", "circles", "dot")
LABELS = {"test-pattern": ("bars", "circles"), "shape": ("dot",)}
RED_IS_BARS = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
"""Mean red is `bars`, mean green `circles`, mean blue `dot`."""


def table(**others):
    return OnnxModelSettings(**{"outputs": OUTPUTS, "labels": LABELS, **others})


def load(path, *, model=None, **others):
    settings = ScannerSettings(model=str(path), onnx_model=model or table(), **others)
    return load_classifier(settings, POLICY)


def colour(red, green, blue, count=1, side=8):
    return np.tile(np.array([red, green, blue], np.uint8), (count, side, side, 1))


@pytest.fixture
def path(tmp_path):
    return mean_colour(tmp_path / "net.onnx", RED_IS_BARS)


def test_outputs_add_up_to_labels(path):
    [scores] = load(path).score(colour(51, 102, 204))
    assert scores == {"test-pattern": 6000, "shape": 8000}


def test_the_largest_output_of_a_label_can_count_instead(path):
    [scores] = load(path, model=table(combine="max")).score(colour(51, 102, 204))
    assert scores == {"test-pattern": 4000, "shape": 8000}


def test_a_sum_over_one_counts_as_one(path):
    assert load(path).score(colour(255, 255, 0))[0]["test-pattern"] == 10_000


def test_each_entry_has_its_own_scores_in_order_over_batches(path):
    pixels = np.concatenate([colour(0, 0, value) for value in range(0, 250, 10)])
    found = [scores["shape"] for scores in load(path, batch=4).score(pixels)]
    assert found == [round(value / 255 * 10_000) for value in range(0, 250, 10)]
    assert load(path).score(pixels[:0]) == []


def test_colours_can_be_swapped(path):
    [scores] = load(path, model=table(colours="BGR")).score(colour(204, 0, 51))
    assert scores == {"test-pattern": 2000, "shape": 8000}


def test_colours_can_come_last(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", RED_IS_BARS, layout="NHWC", shape=("n", 8, 8, 3))
    [scores] = load(path, model=table(layout="NHWC")).score(colour(51, 102, 204))
    assert scores == {"test-pattern": 6000, "shape": 8000}


def test_uint8_inputs_get_the_pixels_as_they_are(tmp_path):
    matrix = np.array(RED_IS_BARS) / 255
    path = mean_colour(tmp_path / "n.onnx", matrix, kind=TensorProto.UINT8)
    assert load(path).score(colour(51, 102, 204)) == [{"test-pattern": 6000, "shape": 8000}]


def test_scale_mean_and_deviation_are_applied_in_this_order(path):
    """(c * scale - mean) / std, with numbers of Caffe's kind: 0..255 and means of 100."""
    model = table(scale=1.0, mean=(100.0, 0.0, 0.0), std=(200.0, 255.0, 255.0))
    [scores] = load(path, model=model).score(colour(200, 0, 51))
    assert scores == {"test-pattern": 5000, "shape": 2000}


def test_sigmoid_and_softmax_make_probabilities(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", np.array(RED_IS_BARS) * 4.0)
    pixels = colour(255, 0, 0)
    numbers = np.array([0.0, 4.0, 0.0, 0.0])
    [sigmoid] = load(path, model=table(activation="sigmoid", combine="max")).score(pixels)
    assert sigmoid["test-pattern"] == round(10_000 / (1 + np.exp(-4.0)))
    [softmax] = load(path, model=table(activation="softmax")).score(pixels)
    powers = np.exp(numbers) / np.exp(numbers).sum()
    assert softmax == {
        "test-pattern": round(10_000 * (powers[1] + powers[2])),
        "shape": round(10_000 * powers[3]),
    }


def test_numbers_that_are_no_probabilities_are_an_error_and_no_clean_picture(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", np.array(RED_IS_BARS) * -4.0)
    with pytest.raises(ModelError, match="set activation"):
        load(path).score(colour(255, 0, 0))


def test_what_is_no_number_is_an_error_and_no_clean_picture(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", np.full((3, 4), np.nan))
    with pytest.raises(ModelError, match="no number"):
        load(path).score(colour(1, 2, 3))


def test_size_and_resizing_come_from_file_and_table(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", RED_IS_BARS, shape=("n", 3, "h", "w"))
    model = table(height=6, width=10, resize="longest", fill=255, interpolation="bilinear")
    wanted = load(path, model=model).preprocess
    assert (wanted.height, wanted.width, wanted.resize_mode) == (6, 10, "longest")
    assert (wanted.fill, wanted.interpolation) == (255, "bilinear")
    ends = wanted.apply([Image.new("RGB", (6, 6))])[0]
    assert ends[0, 0].tolist() == [255] * 3
    assert ends[3, 5].tolist() == [0] * 3


def test_a_file_for_one_entry_at_a_time_is_given_one(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", RED_IS_BARS, shape=(1, 3, 8, 8))
    pixels = np.concatenate([colour(0, 0, 255), colour(255, 0, 0)])
    assert [scores["shape"] for scores in load(path).score(pixels)] == [10_000, 0]


def test_the_pipeline_names_the_file_by_its_digest_and_holds_the_table(path):
    classifier = load(path, model=table(precision="int8"))
    sha256 = file_sha256(path)
    assert classifier.pipeline["weights"] == sha256
    assert classifier.pipeline["architecture"] == classifier.name == f"net-{sha256[:12]}"
    assert classifier.pipeline["policy"] == POLICY.digest()
    assert classifier.pipeline["precision"] == "int8"
    assert classifier.pipeline_id == pipeline_id(classifier.pipeline)
    assert classifier.labels == tuple(POLICY.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"combine": "max"},
        {"activation": "softmax"},
        {"colours": "BGR"},
        {"scale": 1.0},
        {"mean": (0.5, 0.5, 0.5)},
        {"resize": "longest"},
        {"labels": {**LABELS, "shape": ("dot", "plain")}},
    ],
)
def test_another_table_is_another_pipeline(path, change):
    assert load(path, model=table(**change)).pipeline_id != load(path).pipeline_id


def test_defaults_written_out_are_the_same_pipeline(path):
    written = table(height=8, width=8, input="pixels", output="numbers")
    assert load(path, model=written).pipeline_id == load(path).pipeline_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"test-pattern": ("bars",)}}, "shape needs outputs"),
        ({"labels": {**LABELS, "cat": ("dot",)}}, "label cat, which the policy test lacks"),
        ({"labels": {**LABELS, "shape": ("square",)}}, "shape wants square"),
        ({"labels": {**LABELS, "shape": ("dot", "dot")}}, "each once"),
        ({"labels": {**LABELS, "shape": ()}}, "shape needs outputs"),
        ({"outputs": ("a", "a", "b", "c")}, "names an output twice"),
        ({"outputs": (*OUTPUTS, "more")}, "gives 4 numbers"),
        ({"input": "image"}, "has the inputs pixels"),
        ({"output": "scores"}, "has no output scores, but numbers"),
        ({"layout": "NHWC"}, "8 where layout NHWC has 3 colours"),
        ({"height": 9}, "takes a height of 8 pixels"),
    ],
)
def test_a_table_that_does_not_fit_the_file_or_the_policy_is_refused(path, change, words):
    with pytest.raises(ModelError, match=words):
        load(path, model=table(**change))


def test_a_file_that_leaves_its_size_open_needs_one(tmp_path):
    path = mean_colour(tmp_path / "n.onnx", RED_IS_BARS, shape=("n", 3, "h", "w"))
    with pytest.raises(ModelError, match="set height"):
        load(path)


@pytest.mark.parametrize("side", [2048, 2049])
def test_a_side_of_2048_pixels_is_the_largest(tmp_path, side):
    path = mean_colour(tmp_path / "n.onnx", RED_IS_BARS, shape=("n", 3, side, 8))
    if side <= 2048:
        assert load(path).preprocess.height == side
        return
    with pytest.raises(ModelError, match="over 2048 a side"):
        load(path)


def test_a_pinned_digest_is_held_to(path):
    assert load(path, weights_sha256=file_sha256(path)).labels
    with pytest.raises(ModelError, match="has the SHA-256"):
        load(path, weights_sha256="0" * 64)


def test_without_a_table_the_error_names_it(path):
    with pytest.raises(ModelError, match=r"scanner\.onnx_model"):
        load_classifier(ScannerSettings(model=str(path)), POLICY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"outputs": ()},
        {"scale": 0},
        {"scale": float("nan")},
        {"std": (0.0, 1.0, 1.0)},
        {"mean": (0.0, float("inf"), 0.0)},
        {"height": 2049},
        {"fill": 256},
        {"activation": "tanh"},
        {"colors": "RGB"},
    ],
)
def test_a_table_that_can_mean_nothing_is_no_table(wrong):
    with pytest.raises(ValidationError):
        table(**wrong)
