"""The base install: no torch, no compiler; it reuses and federates, and says what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from fediverdict.demo.instance import environment

ROOT = Path(__file__).parents[2]
HIDE_TORCH = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.split(".")[0] in ("torch", "torchvision", "open_clip") else found(name, package)
)
"""


@pytest.fixture
def run_without_torch(tmp_path):
    """Run a command in a process that finds neither torch nor open_clip."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE_TORCH)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fediverdict", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=environment() | {"PYTHONPATH": str(tmp_path / "site")},
        )

    return run


def test_without_torch_nothing_is_scanned_and_nothing_fails(run_without_torch, tmp_path):
    assert run_without_torch("init").returncode == 0
    (tmp_path / "pictures").mkdir()
    photo = next(iter(sorted((ROOT / "fediverdict" / "demo_photos").glob("*.jpg"))))
    (tmp_path / "pictures" / "a.jpg").write_bytes(photo.read_bytes())
    done = run_without_torch("scan", "pictures")
    assert done.returncode == 0, done.stderr
    assert "unknown" in done.stdout
    assert "fediverdict[clip]" in done.stderr


def test_the_demo_without_torch_says_what_to_install(run_without_torch):
    done = run_without_torch("demo")
    assert done.returncode == 3
    assert "fediverdict[clip]" in done.stderr
    assert "Traceback" not in done.stderr
