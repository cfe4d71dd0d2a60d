"""Exports of the bundled model: they agree with torch, and nothing else passes for one."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from scanner.classifiers.engine import bundled_pipeline, load_classifier
from scanner.classifiers.export import Precision, export_model
from scanner.classifiers.onnx import (
    CARD,
    SHIPPED,
    OnnxClassifier,
    export_name,
    find_export,
    read_card,
)
from scanner.classifiers.onnx_file import metadata_entry, read_onnx_file
from scanner.classifiers.pipeline import pipeline_id
from scanner.errors import ModelError
from scanner.policy import load_policy, parse_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import KINDS, draw_noise, draw_pattern, draw_shape
from tests.scanner.classifiers.onnx_graphs import mean_colour

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
from safetensors.torch import save_file  # noqa: E402

from scanner.classifiers import clip_export  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

POLICY = load_policy("test")
PHOTOS = Path(__file__).parents[3] / "fediverdict" / "demo_photos"
FP32_APART = 2
"""Units of 10,000: rounding alone."""
INT8_APART = 200


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Precision -> an export made by this test run."""
    folder = tmp_path_factory.mktemp("exports")
    settings = ScannerSettings(exports_folder=folder)
    return {kind: export_model(settings, POLICY, kind).path for kind in ("fp32", "int8")}


@pytest.fixture(scope="module")
def with_torch():
    return load_classifier(ScannerSettings(device="cpu", backend="torch"), POLICY)


@pytest.fixture(scope="module")
def pixels(with_torch):
    """Test patterns of all kinds, shapes, noise, and the photos of the demo."""
    frames = [draw_pattern(seed, (320, 240), kind) for seed in range(4) for kind in KINDS]
    frames += [draw(seed, (320, 240)) for seed in range(12) for draw in (draw_shape, draw_noise)]
    frames += [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    return with_torch.preprocess.apply(frames)


@pytest.fixture(scope="module")
def wanted(with_torch, pixels):
    """What torch gives for them."""
    return with_torch.score(pixels)


def load(path, **settings):
    return OnnxClassifier.load(path, ScannerSettings(device="cpu", **settings), POLICY)


def apart(some, others):
    """The largest difference of two lists of scores."""
    pairs = zip(some, others, strict=True)
    return max(abs(one[label] - other[label]) for one, other in pairs for label in one)


def changed(some, others):
    """How many entries have a label on the other side of its threshold."""
    limits = POLICY.thresholds()
    return sum(
        any((one[label] >= limit) != (other[label] >= limit) for label, limit in limits.items())
        for one, other in zip(some, others, strict=True)
    )


def test_the_fp32_export_scores_as_torch_does(exports, wanted, pixels):
    """On all patterns and photos: at most 2 of 10,000 apart."""
    found = load(exports["fp32"]).score(pixels)
    assert apart(found, wanted) <= FP32_APART
    assert changed(found, wanted) == 0
    assert {scores["test-pattern"] >= 5000 for scores in wanted} == {True, False}


def test_the_int8_export_decides_as_torch_does(exports, wanted, pixels):
    """At most 200 of 10,000 apart, and not one of the pictures changes sides."""
    found = load(exports["int8"]).score(pixels)
    assert 0 < apart(found, wanted) <= INT8_APART
    assert changed(found, wanted) == 0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_picture_scores_the_same_alone_and_beside_others(exports, pixels, precision):
    classifier = load(exports[precision], batch=5)
    some = pixels[:12]
    alone = [classifier.score(some[number : number + 1])[0] for number in range(len(some))]
    assert apart(classifier.score(some), alone) <= 1
    assert apart(load(exports[precision], batch=12).score(some[::-1])[::-1], alone) <= 1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_threads_may_share_it(exports, pixels, precision):
    classifier = load(exports[precision])
    parts = [pixels[start : start + 3] for start in range(0, 24, 3)]
    wanted = [classifier.score(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(classifier.score, parts)) == wanted


def test_fp32_is_the_pipeline_of_torch_and_int8_one_of_its_own(exports, with_torch):
    fp32, int8 = load(exports["fp32"]), load(exports["int8"])
    assert fp32.pipeline == with_torch.pipeline == bundled_pipeline(POLICY)
    assert fp32.pipeline_id == with_torch.pipeline_id
    assert int8.pipeline == {**fp32.pipeline, "precision": "int8"}
    assert int8.pipeline_id == pipeline_id(int8.pipeline) != fp32.pipeline_id
    assert fp32.name == with_torch.name
    assert set(fp32.labels) == set(POLICY.labels)
    assert fp32.preprocess == with_torch.preprocess


def test_the_file_that_comes_with_the_program_is_an_export_of_the_bundled_model(wanted, pixels):
    shipped = SHIPPED / export_name(ScannerSettings(), POLICY, "fp32")
    assert apart(load(shipped).score(pixels), wanted) <= FP32_APART
    assert [path.name for path in SHIPPED.glob("*.onnx")] == [shipped.name]


def test_int8_is_smaller_and_leaves_convolutions_and_texts_in_fp32(exports):
    sizes = {name: path.stat().st_size for name, path in exports.items()}
    assert sizes["int8"] < 0.6 * sizes["fp32"]
    graph = onnx.load(str(exports["int8"])).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulIntegerToFloat") >= 4
    assert "Conv" in kinds
    [texts] = [one for one in graph.initializer if one.name == "_texts"]
    assert texts.data_type == onnx.TensorProto.FLOAT


def test_nothing_is_scored_as_nothing(exports):
    classifier = load(exports["fp32"])
    assert classifier.score(classifier.preprocess.nothing) == []


def test_pixels_of_another_size_are_an_error_and_no_score(exports):
    with pytest.raises(ModelError, match="cannot judge"):
        load(exports["fp32"]).score(np.zeros((1, 64, 64, 3), np.uint8))


# What is no export of this model and policy.


def test_a_file_without_a_card_is_refused(tmp_path):
    path = mean_colour(tmp_path / "other.onnx", np.eye(3, 2))
    with pytest.raises(ModelError, match="was not made by `fediverdict model export`"):
        load(path)


def test_an_export_for_another_policy_is_refused(exports):
    other = parse_policy(b"""
name = "other"
version = 1
template = "{}"
controls = ["a photo"]
[labels.test-pattern]
prompts = ["stripes"]
threshold = 5000
[labels.shape]
prompts = ["a square"]
threshold = 5000
[rules]
found = "shape"
""")
    with pytest.raises(ModelError, match="for another policy than other"):
        OnnxClassifier.load(exports["fp32"], ScannerSettings(device="cpu"), other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "ViT-B-32/openai"}, "exported from bundled, but scanner.model is ViT-B-32"),
        ({"model": "ViT-B-32/openai", "weights_sha256": "0" * 64}, "exported from weights with"),
        ({"weights_sha256": "0" * 64}, "has the SHA-256"),
        ({"precision": "int8"}, "computes in fp32, but scanner.precision is int8"),
        ({"precision": "bf16"}, "computes in fp32, but scanner.precision is bf16"),
    ],
)
def test_an_export_of_another_model_or_precision_is_refused(exports, settings, words):
    with pytest.raises(ModelError, match=words):
        load(exports["fp32"], **settings)


def test_an_export_of_other_weights_of_the_same_model_is_refused(exports, tmp_path):
    folder = tmp_path / "bundled"
    shutil.copytree(SHIPPED, folder)
    with (folder / "open_clip_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(ModelError, match=r"but those of scanner\.model have"):
        load(exports["fp32"], model=str(folder))


def test_where_the_checkpoint_is_not_its_name_must_do(exports, tmp_path):
    """The machine without torch has no checkpoint: only what the export was called there."""
    assert load(exports["fp32"], model=str(tmp_path / "away" / "bundled")).labels
    with pytest.raises(ModelError, match="was exported from bundled"):
        load(exports["fp32"], model=str(tmp_path / "away" / "other.safetensors"))


def test_a_flipped_bit_anywhere_is_found(exports, tmp_path):
    whole = exports["fp32"].read_bytes()
    path = tmp_path / "x.onnx"
    for place in (100, len(whole) // 3, len(whole) // 2, len(whole) - 3_000):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ModelError):
            load(path)


@pytest.mark.parametrize("length", [0, 1, 1_000, -2_000, -1])
def test_a_shortened_file_is_refused(exports, tmp_path, length):
    path = tmp_path / "x.onnx"
    path.write_bytes(exports["fp32"].read_bytes()[:length])
    with pytest.raises(ModelError):
        load(path)


def with_card(source, path, **changes):
    """Write the export again with other values on its card."""
    file = read_onnx_file(source)
    card = json.loads(file.metadata[CARD]) | changes
    graph = source.read_bytes()[: file.metadata_start]
    path.write_bytes(graph + metadata_entry(CARD, json.dumps(card)))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "cannot be read"),
        ({"labels": []}, "cannot be read"),
        ({"labels": ["test-pattern"]}, "for another policy"),
        ({"labels": ["test-pattern", "shape", "cat"]}, "for another policy"),
        ({"labels": ["test-pattern", "shape", "shape"]}, "does not fit its graph"),
        ({"more": 1}, "cannot be read"),
        ({"pipeline": {"architecture": "x"}}, "cannot be read"),
        ({"graph_bytes": 10}, "is damaged"),
        ({"graph_bytes": 10**12}, "is damaged"),
        ({"graph_sha256": "0" * 64}, "is damaged"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(exports, tmp_path, changes, words):
    with pytest.raises(ModelError, match=words):
        load(with_card(exports["fp32"], tmp_path / "x.onnx", **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"windows": [3, 16]}, "cut long pictures otherwise"),
        ({"size": 64}, "does not fit its graph"),
        ({"size": 4096}, "pixels, over"),
        ({"resize_mode": "shortest"}, "unknown here"),
        ({"mean": "x"}, "does not say what its input looks like"),
    ],
)
def test_a_preprocessing_that_does_not_fit_is_refused(exports, tmp_path, changes, words):
    card = read_card(exports["fp32"], read_onnx_file(exports["fp32"]).metadata)
    preprocessing = json.loads(card.pipeline["preprocessing"]) | changes
    pipeline = {**card.pipeline, "preprocessing": json.dumps(preprocessing)}
    with pytest.raises(ModelError, match=words):
        load(with_card(exports["fp32"], tmp_path / "x.onnx", pipeline=pipeline))


def test_a_second_card_is_refused(exports, tmp_path):
    """Which of two cards counts must not hang on who reads them."""
    path = tmp_path / "x.onnx"
    card = read_onnx_file(exports["fp32"]).metadata[CARD]
    path.write_bytes(exports["fp32"].read_bytes() + metadata_entry(CARD, card))
    with pytest.raises(ModelError, match="twice"):
        load(path)


def test_weights_in_another_file_are_refused(exports, tmp_path):
    whole = onnx.load(str(exports["fp32"]))
    onnx.save(whole, str(tmp_path / "x.onnx"), save_as_external_data=True, location="x.bin")
    with pytest.raises(ModelError, match="keeps weights in other files"):
        load(tmp_path / "x.onnx")


def test_a_device_that_onnx_runtime_cannot_use_is_an_error_and_no_silent_cpu(exports):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has CUDA")
    with pytest.raises(ModelError, match=r"scanner\.device is cuda.*scanner\.backend"):
        OnnxClassifier.load(exports["fp32"], ScannerSettings(device="cuda"), POLICY)


# Making and finding.


def test_an_export_replaces_the_one_before_whole_or_not_at_all(tmp_path):
    settings = ScannerSettings(exports_folder=tmp_path)
    path = tmp_path / export_name(settings, POLICY, "fp32")
    path.write_bytes(b"from before")
    unknown = settings.model_copy(update={"model": str(tmp_path / "no.safetensors")})
    with pytest.raises(ModelError):
        export_model(unknown, POLICY, "fp32", path)
    assert path.read_bytes() == b"from before"
    made = export_model(settings, POLICY, "fp32")
    assert (made.path, made.size) == (path, path.stat().st_size)
    assert made.pipeline_id == load(path).pipeline_id
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_that_disagrees_with_torch_is_not_kept(tmp_path, monkeypatch):
    """As when a converter gets an operator wrong: here the texts are turned round on purpose."""
    write = clip_export.write_graph

    def write_wrongly(classifier, path):
        write(classifier, path)
        model = onnx.load(str(path))
        [texts] = [one for one in model.graph.initializer if one.name == "_texts"]
        texts.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(texts), "_texts"))
        onnx.save(model, str(path))

    monkeypatch.setattr(clip_export, "write_graph", write_wrongly)
    with pytest.raises(ModelError, match="differs from torch by"):
        export_model(ScannerSettings(exports_folder=tmp_path), POLICY, "fp32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("exports")
def test_exporting_leaves_torch_as_it_was():
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_a_killed_export_left_goes_a_day_later(tmp_path):
    for name, age in ((".export-old", 86_500), (".export-new", 86_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.onnx").write_bytes(b"x")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    export_model(ScannerSettings(exports_folder=tmp_path), POLICY, "fp32")
    assert [path.name for path in tmp_path.glob(".export-*")] == [".export-new"]


@pytest.fixture(scope="module")
def vision_transformer(tmp_path_factory):
    """A small vision transformer with random weights, as a folder of open_clip's form."""
    folder = tmp_path_factory.mktemp("models") / "vit"
    folder.mkdir()
    vision = {"image_size": 64, "layers": 3, "width": 128, "head_width": 32, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {
        "model_cfg": {"embed_dim": 96, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": [0.48, 0.46, 0.41],
            "std": [0.27, 0.26, 0.28],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
            "size": 64,
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    return folder


def test_a_vision_transformer_agrees_in_fp32_and_int8(vision_transformer, tmp_path):
    """Its attention has no ONNX form while fused; all its constant products become int8."""
    settings = ScannerSettings(model=str(vision_transformer), exports_folder=tmp_path, device="cpu")
    by_torch = load_classifier(settings.model_copy(update={"backend": "torch"}), POLICY)
    frames = [draw(seed, (100, 80)) for seed in range(8) for draw in (draw_pattern, draw_noise)]
    pixels = by_torch.preprocess.apply(frames)
    wanted = by_torch.score(pixels)
    limits: dict[Precision, int] = {"fp32": FP32_APART, "int8": INT8_APART}
    for precision, limit in limits.items():
        path = export_model(settings, POLICY, precision).path
        found = OnnxClassifier.load(path, settings, POLICY).score(pixels)
        assert apart(found, wanted) <= limit
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 3 * 4 + 1
    assert len({scores["shape"] for scores in wanted}) > 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write the export"):
        export_model(ScannerSettings(), POLICY, "fp32", tmp_path / "file" / "x.onnx")


def test_the_exports_folder_comes_before_what_comes_with_the_program(exports):
    here = ScannerSettings(exports_folder=exports["fp32"].parent)
    assert find_export(here, POLICY) == exports["fp32"]
    assert find_export(here.model_copy(update={"precision": "int8"}), POLICY) == exports["int8"]
    away = ScannerSettings(exports_folder=Path("/nowhere"))
    shipped = find_export(away, POLICY)
    assert shipped and shipped.parent == SHIPPED
    assert find_export(away.model_copy(update={"precision": "int8"}), POLICY) is None
    assert find_export(away.model_copy(update={"model": "ViT-B-32/openai"}), POLICY) is None


def test_a_named_export_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="which is no file"):
        find_export(ScannerSettings(onnx=tmp_path / "no.onnx"), POLICY)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("ViT-B-32/openai", "ViT-B-32-openai"),
        ("/srv/models/my model.safetensors", "my-model.safetensors"),
        ("../../x", "x"),
    ],
)
def test_an_exports_name_is_one_plain_file_name(model, name):
    found = export_name(ScannerSettings(model=model), POLICY, "int8")
    assert found == f"{name}-{POLICY.digest()[:12]}-int8.onnx"
    assert Path(found).name == found
