"""Classifiers of other packages: taken by their entry point, held to the contract."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scanner.classifiers.classifier import score_frames
from scanner.classifiers.engine import load_classifier
from scanner.classifiers.pipeline import describe, pipeline_id
from scanner.classifiers.plugins import DESCRIPTION_CHARACTERS_MAX, CheckedClassifier
from scanner.classifiers.preprocess import Preprocess
from scanner.errors import ModelError
from scanner.policy import load_policy
from scanner.settings import ScannerSettings

POLICY = load_policy("test")
DOCS = Path(__file__).parents[3] / "docs" / "classifiers.md"
PIXELS = np.zeros((2, 8, 8, 3), np.uint8)
FAIR = {"test-pattern": 1, "shape": 10_000}


def blocks(kind):
    """The fenced blocks of the documentation in one language."""
    return re.findall(rf"```{kind}\n(.*?)```", DOCS.read_text(), re.DOTALL)


def install(folder, monkeypatch, module, source, entry, package="a-package"):
    """Lay a package with one entry point out in `folder`, as pip does."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fediverdict.classifiers]\n{entry}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)


def load(name):
    return load_classifier(ScannerSettings(model=f"plugin:{name}"), POLICY)


def test_the_classifier_of_the_documentation_works(tmp_path, monkeypatch):
    """Its source and its entry point are taken from the page itself."""
    [source] = [block for block in blocks("python") if "class Brightness" in block]
    [declared] = [block for block in blocks("toml") if "entry-points" in block]
    entry = declared.splitlines()[1].replace('"', "")
    install(tmp_path, monkeypatch, "brightness", source, entry)
    classifier = load("brightness")
    frames = [Image.new("RGB", (64, 48), (value,) * 3) for value in (0, 51, 255)]
    scores = score_frames(classifier, frames)
    assert [one["test-pattern"] for one in scores] == [0, 2000, 10_000]
    assert classifier.labels == tuple(POLICY.labels)
    assert classifier.pipeline_id == pipeline_id(classifier.pipeline)
    assert classifier.name == "brightness"
    assert len(source.splitlines()) <= 28


def test_the_table_of_the_documentation_is_a_table(tmp_path):
    import tomllib  # noqa: PLC0415

    [text] = [block for block in blocks("toml") if "[scanner.onnx_model]" in block]
    values = tomllib.loads(text)["scanner"]
    values.pop("weights_sha256")
    assert ScannerSettings.model_validate(values).onnx_model


def test_a_plugin_that_is_not_installed_is_named(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "other_plugin", "", "other = other_plugin:load")
    with pytest.raises(ModelError, match="brings a classifier nothing; there is other"):
        load("nothing")


def test_two_packages_of_one_name_are_refused(tmp_path, monkeypatch):
    for package in ("first", "second"):
        folder = tmp_path / package
        folder.mkdir()
        install(folder, monkeypatch, f"{package}_x", "", f"same = {package}_x:load", package)
    with pytest.raises(ModelError, match=r"several packages .*first.*second|.*second.*first"):
        load("same")


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('broken')",
        "def load(settings, policy): raise ValueError('broken')",
        "def load(settings, policy): return None",
        "def load(): return None",
        "import no_such_module",
        "",
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_an_error_of_the_model(tmp_path, monkeypatch, source):
    install(tmp_path, monkeypatch, "broken_plugin", source, "broken = broken_plugin:load")
    with pytest.raises(ModelError, match="the plugin broken"):
        load("broken")


class Fair:
    """Keeps the contract, but for what a test changes."""

    name = "fair"
    labels = ("test-pattern", "shape")
    preprocess = Preprocess(8, 8, (0.0,) * 3, (1.0,) * 3)
    pipeline = describe(
        architecture="fair",
        policy=POLICY.digest(),
        precision="fp32",
        preprocessing="-",
        weights="-",
    )
    answer = staticmethod(lambda pixels: [FAIR for _ in pixels])

    def __init__(self, **changes):
        vars(self).update(changes)

    def score(self, pixels):
        return self.answer(pixels)


def checked(**changes):
    return CheckedClassifier("fair", Fair(**changes), POLICY)


def test_a_fair_plugin_passes():
    assert checked().score(PIXELS) == [FAIR, FAIR]
    assert checked().score(PIXELS[:0]) == []


def fail(_):
    raise OSError("the model server is away")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fail, "failed: OSError: the model server is away"),
        (lambda _: None, "failed: TypeError"),
        (lambda _: [], "gave 0 scores for 2 pictures"),
        (lambda _: [FAIR] * 3, "gave 3 scores for 2 pictures"),
        (lambda _: [{"shape": 1}] * 2, "scored shape"),
        (lambda _: [{}] * 2, "scored nothing"),
        (lambda _: [{**FAIR, "cat": 1}] * 2, "scored"),
        (lambda _: [{**FAIR, "shape": -1}] * 2, "-1 for shape"),
        (lambda _: [{**FAIR, "shape": 10_001}] * 2, "10001 for shape"),
        (lambda _: [{**FAIR, "shape": 0.5}] * 2, "0.5 for shape"),
        (lambda _: [{**FAIR, "shape": True}] * 2, "True for shape"),
        (lambda _: [{**FAIR, "shape": None}] * 2, "None for shape"),
        (lambda _: [{**FAIR, "shape": float("nan")}] * 2, "nan for shape"),
    ],
)
def test_what_is_no_score_is_an_error_and_no_clean_picture(answer, words):
    with pytest.raises(ModelError, match=words):
        checked(answer=answer).score(PIXELS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ("shape",)}, "scores shape, but the policy test has test-pattern, shape"),
        ({"labels": ()}, "scores nothing"),
        ({"labels": ("test-pattern", "shape", "shape")}, "scores test-pattern, shape, shape"),
        ({"labels": ("test-pattern", "cat")}, "scores test-pattern, cat"),
        ({"labels": None}, "is no classifier"),
        ({"pipeline": {}}, "describes its pipeline wrongly"),
        ({"pipeline": {**Fair.pipeline, "weights": 1}}, "describes its pipeline wrongly"),
        ({"pipeline": {**Fair.pipeline, "policy": "0" * 64}}, "must put policy.digest"),
        ({"pipeline": {**Fair.pipeline, "weights": ""}}, "0 characters for weights"),
        ({"preprocess": None}, "is no Preprocess"),
        ({"preprocess": Preprocess(2049, 8, (0.0,) * 3, (1.0,) * 3)}, "cannot be done"),
        ({"preprocess": Preprocess(8, 0, (0.0,) * 3, (1.0,) * 3)}, "cannot be done"),
    ],
)
def test_what_breaks_the_contract_is_refused_when_it_is_loaded(changes, words):
    with pytest.raises(ModelError, match=words):
        checked(**changes)


def test_a_description_of_10000_characters_is_the_longest():
    longest = {**Fair.pipeline, "weights": "w" * DESCRIPTION_CHARACTERS_MAX}
    assert checked(pipeline=longest).pipeline == longest
    with pytest.raises(ModelError, match="10001 characters for weights"):
        checked(pipeline={**longest, "weights": "w" * (DESCRIPTION_CHARACTERS_MAX + 1)})
