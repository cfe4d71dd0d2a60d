"""The open_clip classifier with the bundled tiny model: real weights, real pictures."""

import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from scanner.classifier import combine, score_frames
from scanner.decode import read
from scanner.engine import bundled_pipeline, load_classifier
from scanner.errors import ModelError
from scanner.limits import Limits
from scanner.pipeline import pipeline_id
from scanner.policy import load_policy, parse_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import KINDS, draw_pattern, draw_shape
from tests.scanner.drawings import encode, photo

POLICY = load_policy("test")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(ScannerSettings(device="cpu", batch=4), POLICY)


def scores(classifier, image, kind="PNG", **options):
    picture = read(encode(image, kind, **options), Limits())
    return combine(score_frames(classifier, picture.frames))


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_pattern_is_found_in_itself_and_its_copies(classifier, kind):
    image = draw_pattern(2_000_000, (640, 480), kind)
    half = image.resize((320, 240))
    turned = image.transpose(Image.Transpose.ROTATE_90)
    for copy, options in ((image, {}), (half, {}), (turned, {}), (image, {"quality": 30})):
        found = scores(classifier, copy, "JPEG" if options else "PNG", **options)
        assert found["test-pattern"] >= 5000, found


@pytest.mark.parametrize("name", ["aero", "ascent", "camera"])
def test_a_photo_is_neither(classifier, name):
    found = scores(classifier, photo(name), "JPEG")
    assert found["test-pattern"] < 5000
    assert found["shape"] < 5000


def test_a_shape_over_a_photo_is_a_shape_and_no_pattern(classifier):
    found = scores(classifier, draw_shape(2_000_001, (640, 480), photo("ascent")))
    assert found["shape"] >= 5000
    assert found["test-pattern"] < 5000


def test_one_bad_frame_makes_a_bad_animation(classifier):
    frames = [photo("camera", (320, 240)), draw_pattern(2_000_000, (320, 240), "checker")]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50)
    each = score_frames(classifier, read(data, Limits()).frames)
    assert each[0]["test-pattern"] < 5000 <= each[1]["test-pattern"]
    assert combine(each)["test-pattern"] == each[1]["test-pattern"]


def test_frames_score_the_same_alone_and_in_batches(classifier):
    """Within rounding: nine frames pass in batches of four, four and one."""
    frames = [draw_pattern(seed, (200, 150)) for seed in range(9)]
    together = score_frames(classifier, frames)
    alone = [score_frames(classifier, [frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        assert all(abs(one[label] - other[label]) <= 2 for label in one)


@pytest.mark.parametrize("size", [(2400, 200), (200, 2400)])
def test_a_pattern_at_the_end_of_a_long_strip_is_found(classifier, size):
    """In the middle there is nothing; a look at the middle, or at all at once, missed it."""
    strip = Image.new("RGB", size, (90, 90, 90))
    end = (400, 200) if size[0] > size[1] else (200, 400)
    strip.paste(draw_pattern(2_000_000, end), (0, 0))
    assert scores(classifier, strip)["test-pattern"] >= 5000


def test_a_single_pixel_can_be_scored(classifier):
    assert set(scores(classifier, Image.new("RGB", (1, 1)))) == {"test-pattern", "shape"}


def test_no_frames_have_no_scores(classifier):
    assert score_frames(classifier, []) == []


def test_threads_may_share_a_classifier(classifier):
    frames = [draw_pattern(seed, (160, 120)) for seed in range(8)]
    wanted = [score_frames(classifier, [frame]) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: score_frames(classifier, [frame]), frames))
    assert found == wanted


def test_a_label_does_not_depend_on_the_other_labels(classifier):
    """The same policy without `shape`: the scores of `test-pattern` stay what they were."""
    alone = POLICY.model_copy(update={"labels": {"test-pattern": POLICY.labels["test-pattern"]}})
    other = load_classifier(ScannerSettings(device="cpu"), alone)
    frames = [draw_pattern(3, (200, 150)), photo("camera"), draw_shape(1, (200, 150))]
    for one, two in zip(score_frames(classifier, frames), score_frames(other, frames), strict=True):
        assert abs(one["test-pattern"] - two["test-pattern"]) <= 2
    assert other.labels == ("test-pattern",)
    assert other.pipeline_id != classifier.pipeline_id


def test_the_loaded_pipeline_is_the_one_computed_without_torch(classifier):
    assert classifier.pipeline == bundled_pipeline(POLICY)
    assert classifier.pipeline_id == pipeline_id(bundled_pipeline(POLICY))
    assert classifier.name == classifier.pipeline["architecture"]
    assert classifier.labels == ("test-pattern", "shape")


def test_another_policy_is_another_pipeline(classifier):
    other = parse_policy(b"""
name = "other"
version = 1
template = "a photo of {}"
controls = ["a cat"]
[labels.dog]
prompts = ["a dog"]
threshold = 5000
[rules]
dog = "dog"
""")
    assert bundled_pipeline(other) != classifier.pipeline


class Evil:
    """What a pickled checkpoint of a stranger may hold."""

    def __reduce__(self):
        return (os.mkdir, (os.environ["EVIL_FOLDER"],))


def test_a_pickled_checkpoint_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "evil"))
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(ModelError, match="no checkpoint of RN50"):
        load_classifier(ScannerSettings(model=str(path), architecture="RN50"), POLICY)
    assert not (tmp_path / "evil").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ModelError, match="no checkpoint of RN50"):
        load_classifier(ScannerSettings(model=str(path), architecture="RN50"), POLICY)


def test_an_architecture_that_open_clip_does_not_know_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="NoSuch"):
        load_classifier(ScannerSettings(model=str(path), architecture="NoSuch"), POLICY)


@pytest.mark.parametrize(
    ("model", "words"),
    [("ViT-B-32/nothing", "its tags are"), ("NoSuch/openai", "no such architecture")],
)
def test_a_tag_that_open_clip_does_not_know_is_refused(model, words):
    with pytest.raises(ModelError, match=words):
        load_classifier(ScannerSettings(model=model), POLICY)


def test_a_failed_download_says_how_to_do_without(monkeypatch):
    open_clip = pytest.importorskip("open_clip")

    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(ModelError, match=r"no network.*scanner\.architecture to ViT-B-32"):
        load_classifier(ScannerSettings(model="ViT-B-32/openai"), POLICY)


def test_a_device_that_is_not_there_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match=r"scanner\.device is cuda"):
        load_classifier(ScannerSettings(device="cuda"), POLICY)


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "scanner.clip", raising=False)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match=r"pip install 'fediverdict\[clip\]'"):
        load_classifier(ScannerSettings(), POLICY)
