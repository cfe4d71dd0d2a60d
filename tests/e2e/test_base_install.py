"""Installs without torch: the base one reuses and says what it lacks, `[onnx]` scans as well.

Modules are barred by a `sitecustomize.py`, which every process of the test runs, decoders too.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from fediverdict.demo.instance import Instance, environment
from scanner.classifiers.engine import bundled_pipeline
from scanner.classifiers.pipeline import pipeline_id
from scanner.policy import load_policy
from scanner.testpatterns import draw_pattern

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "fediverdict" / "demo_photos" / "cat.jpg"
TORCH = ("torch", "torchvision", "open_clip", "onnx", "onnxscript")
BAR = "import sys\nsys.modules.update(dict.fromkeys({names!r}))\n"


@pytest.fixture
def bar(tmp_path, monkeypatch):
    """Let no process that is started from here on import some modules."""

    def bar(*names):
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(BAR.format(names=names))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    return bar


@pytest.fixture
def run(tmp_path):
    """Run a command in a folder of its own."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fediverdict", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )

    return run


@pytest.fixture
def pictures(tmp_path):
    """A photo and a test pattern."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(PHOTO.read_bytes())
    draw_pattern(7, (320, 240)).save(folder / "pattern.png")
    return folder


@pytest.mark.usefixtures("pictures")
def test_the_base_install_scans_nothing_and_nothing_fails(bar, run):
    bar(*TORCH, "onnxruntime")
    assert run("init").returncode == 0
    done = run("scan", "pictures")
    assert done.returncode == 0, done.stderr
    assert "unknown" in done.stdout
    for extra in ("fediverdict[clip]", "fediverdict[onnx]"):
        assert extra in done.stderr


def test_the_demo_of_the_base_install_says_what_to_install(bar, run):
    bar(*TORCH, "onnxruntime")
    done = run("demo")
    assert done.returncode == 3
    assert "fediverdict[onnx]" in done.stderr
    assert "Traceback" not in done.stderr


def test_torch_is_barred(bar, run):
    bar(*TORCH)
    done = run("model", "export")
    assert done.returncode == 2  # no config yet
    assert run("init").returncode == 0
    done = run("model", "export")
    assert done.returncode == 3
    assert "fediverdict[export]" in done.stderr


@pytest.mark.usefixtures("pictures")
def test_with_onnx_runtime_alone_a_folder_is_scanned(bar, run):
    bar(*TORCH)
    assert run("init").returncode == 0
    done = run("scan", "pictures")
    assert done.returncode == 1, done.stderr
    assert "pattern.png" in done.stdout
    assert "photo.jpg" not in done.stdout
    assert "2 scanned" in done.stdout


def test_with_onnx_runtime_alone_a_server_scans(bar, tmp_path, pictures):
    """Its scores go by the pipeline that a server with torch would name."""
    bar(*TORCH)
    instance = Instance.create("onnx", tmp_path / "instance", "[scanner]\n")
    instance.start()
    try:
        flagged = instance.scan((pictures / "pattern.png").read_bytes())
        clean = instance.scan(PHOTO.read_bytes())
    finally:
        instance.stop()
    assert (flagged["decision"], flagged["scanned"]) == ("flagged", True)
    assert (clean["decision"], clean["scanned"]) == ("clean", True)
    wanted = pipeline_id(bundled_pipeline(load_policy("test")))
    assert [one["pipeline"] for one in clean["sources"]] == [wanted]
