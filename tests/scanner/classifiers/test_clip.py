"""The open_clip classifier with the bundled tiny model: real weights, real pictures."""

import importlib
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scanner.classifiers import lean_import
from scanner.classifiers.classifier import combine, score_frames
from scanner.classifiers.engine import bundled_pipeline, load_classifier
from scanner.classifiers.fetching import url_digest
from scanner.classifiers.lean_import import builtin_config, needs_all, open_clip_for
from scanner.classifiers.pipeline import pipeline_id
from scanner.decoding.decode import read
from scanner.errors import DownloadError, ModelError
from scanner.limits import Limits
from scanner.policy import load_policy, parse_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import KINDS, draw_pattern, draw_shape
from tests.scanner.drawings import encode, photo
from tests.waiting import PATIENCE

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
from scanner.classifiers.clip import SENTENCES, ClipClassifier, known_tag  # noqa: E402
from scanner.classifiers.torch_run import precision_of  # noqa: E402

ROOT = Path(__file__).parents[3]
POLICY = load_policy("test")


def settings(**others):
    return ScannerSettings(**{"device": "cpu", "backend": "torch", **others})


def load(policy=POLICY, **others):
    return ClipClassifier.load(settings(**others), policy)


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(settings(device="cpu", batch=4), POLICY)


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


@pytest.mark.slow
def test_threads_may_share_a_classifier(classifier):
    frames = [draw_pattern(seed, (160, 120)) for seed in range(8)]
    wanted = [score_frames(classifier, [frame]) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda frame: score_frames(classifier, [frame]), frames))
    assert found == wanted


def pixels_of(classifier, count, seed=0):
    """Drawn patterns and noise, at the model's size."""
    side = classifier.preprocess.height
    frames = [draw_pattern(seed + at, (side, side)) for at in range(count)]
    return classifier.preprocess.apply(frames)


def alike(one, other, within=2):
    return all(
        abs(a[label] - b[label]) <= within for a, b in zip(one, other, strict=True) for label in a
    )


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 13])
def test_pixels_longer_than_a_batch_score_as_they_do_alone(classifier, count):
    pixels = pixels_of(classifier, count)
    alone = [classifier.score(pixels[at : at + 1])[0] for at in range(count)]
    assert alike(classifier.score(pixels), alone)


@pytest.mark.slow
def test_many_threads_with_many_batches_each_get_their_own_scores(classifier):
    """Eight threads share three slots of buffers: nobody waits for ever, nothing is mixed up."""
    parts = [pixels_of(classifier, 9 + at, 50 * at) for at in range(8)]
    wanted = [classifier.score(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = list(pool.map(classifier.score, parts, timeout=PATIENCE))
            assert all(alike(one, other) for one, other in zip(found, wanted, strict=True))


def test_pixels_may_be_read_only_and_of_any_stride(classifier):
    pixels = pixels_of(classifier, 6)
    wanted = classifier.score(pixels)
    other = np.asfortranarray(pixels)
    other.flags.writeable = False
    assert classifier.score(other) == wanted
    assert alike(classifier.score(pixels[::-1]), wanted[::-1])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 128, 128, 3), np.float32),
        np.zeros((2, 3, 128, 128), np.uint8),
        np.zeros((2, 127, 128, 3), np.uint8),
        np.zeros((128, 128, 3), np.uint8),
    ],
)
def test_pixels_of_another_kind_are_refused(classifier, pixels):
    with pytest.raises(ValueError, match="the model takes uint8 pixels"):
        classifier.score(pixels)


class Later:
    """A device that works behind the caller's back, as a GPU does: `start` only queues."""

    def __init__(self):
        self._pool, self._works = ThreadPoolExecutor(1), {}

    def start(self, slot, size, run):
        def work():
            time.sleep(0.002)  # what is written into the buffers meanwhile would be scored
            with torch.inference_mode():
                slot.scores[: slot.count].copy_(run(slot.there[:size])[: slot.count])

        self._works[slot] = self._pool.submit(work)

    def finish(self, slot):
        self._works.pop(slot).result(timeout=PATIENCE)


@pytest.mark.slow
def test_buffers_are_not_touched_before_a_device_that_works_behind_is_done(monkeypatch):
    classifier = load(batch=4)
    parts = [pixels_of(classifier, 9 + at, 50 * at) for at in range(4)]
    wanted = [classifier.score(part) for part in parts]
    monkeypatch.setattr(classifier._runner, "_lane", Later())
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(classifier.score, parts, timeout=PATIENCE))
            assert all(alike(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_failing_device_is_told_and_the_next_call_works(classifier, monkeypatch):
    """Each failure gives its buffers back, or the fourth call would wait for ever."""
    pixels = pixels_of(classifier, 13)
    wanted = classifier.score(pixels)
    runner = classifier._runner
    module, calls = runner._module, []

    def fails_at_the_third(there):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")
        return module(there)

    monkeypatch.setattr(runner, "_module", fails_at_the_third)
    for _ in range(5):
        with pytest.raises(ModelError, match=r"lower scanner\.batch"):
            classifier.score(pixels)
        calls.clear()
    monkeypatch.setattr(runner, "_module", module)
    assert alike(classifier.score(pixels), wanted)


def test_weights_that_give_no_number_are_an_error(monkeypatch):
    broken = load()
    with torch.no_grad():
        next(broken.parts().model.visual.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="damaged"):
        broken.score(pixels_of(broken, 1))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_a_pipeline_of_its_own_with_nearly_the_same_scores(classifier, precision):
    half = load(precision=precision)
    assert half.pipeline == {**classifier.pipeline, "precision": precision}
    assert half.pipeline_id != classifier.pipeline_id
    assert next(half.parts().model.visual.parameters()).dtype != torch.float32
    pixels = pixels_of(classifier, 12)
    assert alike(half.score(pixels), classifier.score(pixels), within=600)
    photos = [photo(name) for name in ("aero", "ascent", "camera")]
    for found in score_frames(half, photos):
        assert found["test-pattern"] < 5000


def test_precision_auto_is_fp32_on_a_cpu_and_half_on_cuda(monkeypatch):
    assert precision_of("auto", torch.device("cpu"), small=False) == "fp32"
    assert precision_of("auto", torch.device("mps"), small=False) == "fp32"
    assert precision_of("auto", torch.device("cuda"), small=True) == "fp32"
    assert precision_of("bf16", torch.device("cuda"), small=True) == "bf16"
    for has_it, wanted in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_it, **_: has)
        assert precision_of("auto", torch.device("cuda"), small=False) == wanted
    with pytest.raises(ModelError, match="int8"):
        precision_of("int8", torch.device("cpu"), small=False)


def test_fp32_is_never_rounded_to_tf32(classifier):
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_the_text_tower_is_given_up_once_the_policy_is_encoded(classifier):
    model = classifier.parts().model
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"visual"}
    assert {name.partition(".")[0] for name, _ in model.named_buffers()} <= {"visual"}


def test_a_policy_of_many_prompts_is_encoded_in_pieces(classifier):
    label = POLICY.labels["test-pattern"]
    prompts = tuple(f"{label.prompts[0]} {number}" for number in range(SENTENCES + 1))
    many = label.model_copy(update={"prompts": prompts})
    policy = POLICY.model_copy(update={"labels": {"test-pattern": many}})
    found = load(policy).parts().prompts["test-pattern"]
    assert found.shape[0] == SENTENCES + 1
    assert torch.allclose(found.norm(dim=-1), torch.ones(SENTENCES + 1), atol=1e-5)


def test_a_compile_that_fails_is_left_out_with_one_line(monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("no compiler here\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    plain = load(compile=True)
    assert not plain.is_compiled
    lines = [one for one in caplog.messages if "torch.compile" in one]
    assert lines == ["torch.compile does not work here, so it is left out: no compiler here"]
    assert plain.score(pixels_of(plain, 3))


def test_only_batches_over_half_full_are_filled_up_and_run_compiled(classifier, monkeypatch):
    sizes = []

    def compiled(module, **_):
        def run(there):
            sizes.append(len(there))
            return module(there)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    other = load(compile=True, batch=4)
    assert sizes == [4]
    pixels = pixels_of(classifier, 11)
    sizes.clear()
    assert alike(other.score(pixels), classifier.score(pixels))
    assert sizes == [4, 4, 4]  # of four, four and three
    sizes.clear()
    assert alike(other.score(pixels[:6]), classifier.score(pixels[:6]))
    assert sizes == [4]  # of four; two run uncompiled


@pytest.mark.slow
def test_a_compiled_tower_scores_the_same_and_compiles_once_for_all_threads(classifier):
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled = load(compile=True, batch=4)
    if not compiled.is_compiled:
        pytest.skip("torch.compile does not work here: it needs a C++ compiler")
    before = counters["stats"]["unique_graphs"]
    pixels = pixels_of(classifier, 11)
    wanted = classifier.score(pixels)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(compiled.score, [pixels] * 6):
            assert alike(found, wanted)
    assert counters["stats"]["unique_graphs"] == before


def test_neither_torchvision_nor_timm_is_imported_for_a_model_that_needs_none_of_it():
    code = (
        "import sys; from scanner.classifiers.engine import load_classifier\n"
        "from scanner.settings import ScannerSettings; from scanner.policy import load_policy\n"
        "s = ScannerSettings(device='cpu', backend='torch')\n"
        "load_classifier(s, load_policy('test'))\n"
        "print([n for n in ('torchvision', 'timm', 'sympy', 'scipy') if n in sys.modules])\n"
        "from open_clip.transform import Compose; print(Compose.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["[]", "torchvision.transforms.transforms"]


def test_an_open_clip_that_uses_more_of_torchvision_is_imported_whole(monkeypatch):
    monkeypatch.setattr(lean_import, "_lean", [])
    monkeypatch.setattr(lean_import, "TORCHVISION", ("torchvision",))
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib, "import_module", whole := Whole())
    found: object = lean_import.open_clip_for({})
    assert found == "the whole"
    assert whole.asked == ["open_clip", "open_clip"]


class Whole:
    """Fails the first time, as an import of a part without a stand-in does."""

    def __init__(self):
        self.asked = []

    def __call__(self, name):
        self.asked.append(name)
        if len(self.asked) == 1:
            raise ModuleNotFoundError("No module named 'torchvision.io'")
        return "the whole"


def test_a_model_of_timms_parts_gets_the_whole_of_open_clip():
    assert needs_all(builtin_config("ViT-B-16-SigLIP") or {})
    assert needs_all(builtin_config("xlm-roberta-base-ViT-B-32") or {})
    assert not needs_all(builtin_config("ViT-L-14") or {})
    assert builtin_config("NoSuch") is None
    assert builtin_config("../model_configs/ViT-L-14") is None
    assert open_clip_for(builtin_config("ViT-B-16-SigLIP")).timm_model.timm is not None


def test_a_label_does_not_depend_on_the_other_labels(classifier):
    """The same policy without `shape`: the scores of `test-pattern` stay what they were."""
    alone = POLICY.model_copy(update={"labels": {"test-pattern": POLICY.labels["test-pattern"]}})
    other = load_classifier(settings(device="cpu"), alone)
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
        load_classifier(settings(model=str(path), architecture="RN50"), POLICY)
    assert not (tmp_path / "evil").exists()


def test_a_torchscript_archive_is_refused(tmp_path):
    """It holds code, as what OpenAI published at a URL does."""
    path = tmp_path / "weights.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(ModelError, match="no checkpoint of RN50"):
        load(model=str(path), architecture="RN50")


def test_what_open_clip_knows_of_a_tag_is_kept():
    tag = known_tag("ViT-L-14", "openai")
    assert tag.repository == "timm/vit_large_patch14_clip_224.openai"
    assert tag.files == ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    assert url_digest(tag.url).startswith("b8cca3fd")
    assert tag.quick_gelu
    assert tag.preprocessing["interpolation"] == "bicubic"
    named = known_tag("EVA02-B-16", "merged2b_s8b_b131k")
    assert all("/" not in name for name in named.files)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ModelError, match="no checkpoint of RN50"):
        load_classifier(settings(model=str(path), architecture="RN50"), POLICY)


def test_an_architecture_that_open_clip_does_not_know_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="NoSuch"):
        load_classifier(settings(model=str(path), architecture="NoSuch"), POLICY)


@pytest.mark.parametrize(
    ("model", "words"),
    [("ViT-B-32/nothing", "its tags are"), ("NoSuch/openai", "no such architecture")],
)
def test_a_tag_that_open_clip_does_not_know_is_refused(model, words):
    with pytest.raises(ModelError, match=words):
        load_classifier(settings(model=model), POLICY)


def test_a_failed_download_says_how_to_do_without(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise DownloadError("no network")

    monkeypatch.setattr("scanner.classifiers.fetching.find_on_hub", fail)
    with pytest.raises(ModelError, match=r"no network.*scanner\.architecture to ViT-B-32"):
        load_classifier(settings(model="ViT-B-32/openai", weights_folder=tmp_path), POLICY)


def test_a_device_that_is_not_there_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match=r"scanner\.device is cuda"):
        load_classifier(settings(device="cuda"), POLICY)


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "scanner.classifiers.clip", raising=False)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match=r"pip install 'fediverdict\[clip\]'"):
        load_classifier(settings(), POLICY)
