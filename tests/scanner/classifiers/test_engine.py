"""What runs the model: chosen by what is installed, what is exported, and what is asked for."""

import logging
import sys

import pytest

from scanner.classifiers.engine import (
    Backend,
    has_gpu,
    is_installed,
    load_classifier,
    plan_of,
    what_is_missing,
)
from scanner.classifiers.onnx import SHIPPED, OnnxClassifier, export_name
from scanner.errors import ModelError, NotInstalled
from scanner.policy import load_policy
from scanner.settings import OnnxModelSettings, ScannerSettings, shadow_settings

POLICY = load_policy("test")
SHIPPED_FILE = SHIPPED / export_name(ScannerSettings(), POLICY, "fp32")


@pytest.fixture
def without(monkeypatch):
    """Bar modules from being imported."""

    def bar(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return bar


@pytest.fixture
def folder(tmp_path):
    """An exports folder; what lies in it is only found here, not read."""
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


def settings(folder, **others):
    return ScannerSettings(**{"model": "ViT-B-32/openai", "exports_folder": folder, **others})


def put(folder, precision="fp32", **others):
    path = folder / export_name(settings(folder, **others), POLICY, precision)
    path.write_bytes(b"")
    return path


def test_an_export_goes_to_onnx_runtime_where_it_is_there(folder):
    path = put(folder)
    plan = plan_of(settings(folder), POLICY)
    assert (plan.backend, plan.export) == (Backend.EXPORT, path)


def test_without_an_export_torch_is_taken(folder):
    assert plan_of(settings(folder), POLICY).backend is Backend.TORCH


def test_without_onnx_runtime_torch_is_taken(folder, without):
    put(folder)
    without("onnxruntime")
    assert plan_of(settings(folder), POLICY).backend is Backend.TORCH


def test_torch_can_be_forced(folder):
    put(folder)
    assert plan_of(settings(folder, backend="torch"), POLICY).backend is Backend.TORCH


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"device": "mps"}, {"precision": "bf16"}])
def test_what_only_torch_is_sure_to_do_goes_to_torch(folder, asked):
    put(folder)
    assert plan_of(settings(folder, **asked), POLICY).backend is Backend.TORCH
    assert plan_of(settings(folder, **asked, backend="onnx"), POLICY).backend is Backend.EXPORT


def test_a_gpu_asked_for_where_torch_is_not_goes_to_onnx_runtime(folder, without):
    put(folder)
    without("torch")
    assert plan_of(settings(folder, device="cuda"), POLICY).backend is Backend.EXPORT


def test_int8_is_taken_only_where_it_is_asked_for(folder):
    path = put(folder, "int8")
    assert plan_of(settings(folder), POLICY).backend is Backend.TORCH
    assert plan_of(settings(folder, precision="int8"), POLICY).export == path


def test_int8_without_its_file_is_an_error_that_names_the_command(folder):
    with pytest.raises(ModelError, match="model export --int8"):
        plan_of(settings(folder, precision="int8"), POLICY)
    with pytest.raises(ModelError, match="torch does not compute in int8"):
        plan_of(settings(folder, precision="int8", backend="torch"), POLICY)


def test_a_named_export_is_taken(folder, tmp_path):
    path = tmp_path / "mine.onnx"
    path.touch()
    put(folder)
    assert plan_of(settings(folder, onnx=path), POLICY).export == path


@pytest.mark.parametrize("bundled", [True, False])
def test_without_torch_the_bundled_model_judges_by_the_file_that_comes_with_it(
    folder, without, bundled
):
    without("torch", "open_clip")
    if bundled:
        plan = plan_of(ScannerSettings(exports_folder=folder), POLICY)
        assert (plan.backend, plan.export) == (Backend.EXPORT, SHIPPED_FILE)
        return
    with pytest.raises(NotInstalled, match=r"fediverdict\[clip\].*fediverdict model export"):
        plan_of(settings(folder), POLICY)


def test_without_anything_it_is_said_what_to_install(folder, without):
    without("torch", "onnxruntime")
    plain = ScannerSettings(exports_folder=folder)
    assert not is_installed(plain, POLICY)
    assert "fediverdict[onnx]" in str(what_is_missing(plain, POLICY))
    assert "fediverdict[clip]" in str(what_is_missing(settings(folder), POLICY))
    with pytest.raises(NotInstalled):
        load_classifier(plain, POLICY)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_backend_asked_for_and_not_there_is_an_error(folder, without, backend):
    put(folder)
    without("torch", "onnxruntime")
    assert not is_installed(settings(folder, backend=backend), POLICY)


def test_onnx_asked_for_without_a_file_names_the_command(folder):
    with pytest.raises(NotInstalled, match="`fediverdict model export` makes it"):
        plan_of(settings(folder, backend="onnx"), POLICY)


def test_a_wrong_setting_is_no_matter_of_installing(folder, tmp_path):
    """Nothing is to be installed; loading the model says what is wrong."""
    wrong = settings(folder, onnx=tmp_path / "no.onnx")
    assert is_installed(wrong, POLICY)
    with pytest.raises(ModelError, match="which is no file"):
        load_classifier(wrong, POLICY)


def test_an_onnx_file_is_a_model_by_table_or_an_export(tmp_path):
    path = tmp_path / "net.onnx"
    path.touch()
    table = OnnxModelSettings(outputs=("a",), labels={"shape": ("a",)})
    here = ScannerSettings(model=str(path))
    assert plan_of(here, POLICY).export == path
    assert plan_of(here.model_copy(update={"onnx_model": table}), POLICY).backend is (
        Backend.ONNX_MODEL
    )
    with pytest.raises(ModelError, match="torch cannot run"):
        plan_of(here.model_copy(update={"backend": "torch"}), POLICY)
    with pytest.raises(ModelError, match="which is no file"):
        plan_of(ScannerSettings(model=str(tmp_path / "none.onnx")), POLICY)


def test_a_table_without_an_onnx_file_is_a_mistake_that_is_said():
    table = OnnxModelSettings(outputs=("a",), labels={"shape": ("a",)})
    with pytest.raises(ModelError, match="is for an ONNX file, and bundled is none"):
        plan_of(ScannerSettings(onnx_model=table), POLICY)


def test_a_model_in_shadow_takes_neither_file_nor_table_of_the_other(tmp_path):
    table = OnnxModelSettings(outputs=("a",), labels={"shape": ("a",)})
    main = ScannerSettings(model="x.onnx", onnx=tmp_path / "y.onnx", onnx_model=table)
    shadow = shadow_settings(main)
    assert (shadow.model, shadow.onnx, shadow.onnx_model) == ("bundled", None, None)


def test_an_export_can_be_the_model_itself():
    classifier = load_classifier(ScannerSettings(model=str(SHIPPED_FILE)), POLICY)
    assert isinstance(classifier, OnnxClassifier)


def test_a_plugin_needs_neither(folder, without):
    without("torch", "onnxruntime")
    assert plan_of(settings(folder, model="plugin:x"), POLICY).backend is Backend.PLUGIN


@pytest.mark.parametrize("purpose", ["serve", "scan"])
def test_on_a_cpu_the_bundled_model_runs_without_torch(purpose, without):
    without("torch", "open_clip", "scanner.classifiers.clip")
    cpu = ScannerSettings(device="cpu")
    assert isinstance(load_classifier(cpu, POLICY, purpose), OnnxClassifier)


@pytest.mark.parametrize(
    ("name", "found"),
    [("nvidia0", True), ("nvidia12", True), ("kfd", True), ("dxg", True), ("nvidiactl", False)],
)
def test_a_gpu_is_known_by_its_device_file(tmp_path, name, found):
    if sys.platform == "darwin":
        pytest.skip("macOS has none")
    assert not has_gpu("auto", tmp_path)
    (tmp_path / name).touch()
    assert has_gpu("auto", tmp_path) is found
    assert not has_gpu("cpu", tmp_path)
    assert has_gpu("cuda", tmp_path / "none")


def test_torch_for_want_of_a_file_is_said_once_with_the_command(folder, caplog):
    pytest.importorskip("torch")
    with caplog.at_level(logging.INFO), pytest.raises(ModelError):
        load_classifier(settings(folder, device="cpu", model="NoSuch/tag"), POLICY)
    [said] = [
        one.getMessage() for one in caplog.records if one.name == "scanner.classifiers.engine"
    ]
    assert "fediverdict model export" in said
    assert "\n" not in said


def test_who_loads_is_told_of_a_download_and_can_end_it(monkeypatch):
    class Enough(Exception):
        pass

    def progress(_done, _total):
        raise Enough

    def fetch(_settings, told):
        told(1, 2)

    monkeypatch.setattr("scanner.classifiers.clip.fetch", fetch)
    with pytest.raises(Enough):
        load_classifier(ScannerSettings(backend="torch"), POLICY, "serve", progress)
