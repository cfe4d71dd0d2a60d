"""Finding checkpoints: the four forms of `scanner.model`, digests and pins."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from scanner.classifiers.weights import BUNDLED, Download, bundled_checkpoint, find_checkpoint
from scanner.errors import ModelError
from scanner.settings import ScannerSettings


def no_download(*_):
    raise AssertionError("nothing is to be downloaded here")


def find(download=no_download, **settings):
    return find_checkpoint(ScannerSettings(**settings), download)


def test_the_bundled_model_is_small_and_its_digest_is_that_of_its_file():
    checkpoint = bundled_checkpoint()
    assert checkpoint.path.stat().st_size < 8_000_000
    assert checkpoint.sha256 == hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    assert find() == checkpoint


def test_a_pinned_digest_is_held(tmp_path):
    digest = bundled_checkpoint().sha256
    assert find(weights_sha256=digest).sha256 == digest
    with pytest.raises(ModelError, match="another file, or damaged"):
        find(weights_sha256="0" * 64)


def test_a_pin_that_is_no_digest_is_refused():
    with pytest.raises(ValidationError):
        ScannerSettings(weights_sha256="ABC")


def test_a_file_needs_its_architecture(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"set scanner\.architecture"):
        find(model=str(path))
    checkpoint = find(model=str(path), architecture="ViT-B-32")
    assert (checkpoint.architecture, checkpoint.folder) == ("ViT-B-32", False)
    assert checkpoint.sha256 == hashlib.sha256(b"x").hexdigest()


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="no checkpoint"):
        find(model=str(path), architecture="ViT-B-32")


@pytest.mark.parametrize("config", [None, "{", "[]", "{}"])
def test_a_folder_without_a_configuration_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(ModelError, match="open_clip_config"):
        find(model=str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(ModelError, match="cannot read the checkpoint"):
        find(model=str(tmp_path))


def test_the_architecture_of_a_folder_does_not_name_where_it_lies(tmp_path):
    copy = tmp_path / "tiny"
    copy.mkdir()
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (copy / name).write_bytes((BUNDLED / name).read_bytes())
    assert find(model=str(copy)).architecture == bundled_checkpoint().architecture


@pytest.mark.parametrize("model", ["none", "/no/such/file.pt", "./weights.pt", "a/b/c", "/", ""])
def test_a_model_that_is_nothing_is_refused_with_the_forms_there_are(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        find(model=model)


def test_a_pretrained_tag_is_downloaded_and_its_ways_are_kept(tmp_path):
    asked = []

    def download(architecture, pretrained):
        asked.append((architecture, pretrained))
        path = tmp_path / "weights.safetensors"
        path.write_bytes(b"x")
        return Download(path, {"interpolation": "bicubic"}, quick_gelu=True)

    found = find(download, model="ViT-L-14/openai")
    assert asked == [("ViT-L-14", "openai")]
    assert found.architecture == "ViT-L-14-quickgelu"
    assert (found.open_clip_name, found.quick_gelu) == ("ViT-L-14", True)
    assert found.preprocessing == {"interpolation": "bicubic"}


def test_a_fetched_file_that_changed_here_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")

    def here(*_):
        return Download(path, {}, quick_gelu=False)

    assert find(here, model="ViT-L-14/openai").sha256 == digest
    path.write_bytes(b"y")
    with pytest.raises(ModelError, match="damaged or changed here; remove it"):
        find(here, model="ViT-L-14/openai")
