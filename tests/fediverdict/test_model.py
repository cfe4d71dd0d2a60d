"""`fediverdict model`: export, compare, list, info, by the command line."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from scanner.classifiers.compare import compare
from scanner.classifiers.onnx import SHIPPED, export_name
from scanner.policy import load_policy
from scanner.settings import ScannerSettings
from scanner.testpatterns import draw_pattern, draw_shape

POLICY = load_policy("test")
PHOTOS = Path(__file__).parents[2] / "fediverdict" / "demo_photos"
FP32, INT8 = (export_name(ScannerSettings(), POLICY, kind) for kind in ("fp32", "int8"))
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def here(tmp_path):
    """A config with nothing but defaults; `model` needs no database."""
    path = tmp_path / "config.toml"
    path.write_text('[scanner]\ndevice = "cpu"\n')
    return path


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        draw_pattern(seed, (160, 120)).save(folder / f"pattern-{seed}.png")
        draw_shape(seed, (160, 120)).save(folder / f"shape-{seed}.png")
    shutil.copy(PHOTOS / "cat.jpg", folder)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_what_export_writes_is_listed_described_and_agrees_with_torch(run, here, pictures):
    pytest.importorskip("torch")
    folder = here.parent / "exports"
    for arguments, name in (((), FP32), (("--int8",), INT8)):
        ended = run("model", "export", *arguments, "--json", config=here)
        said = json.loads(ended.out)
        assert said["path"] == str(folder / name), ended.err
        assert said["bytes"] == (folder / name).stat().st_size
    listed = [
        json.loads(line)
        for line in run("model", "list", "--json", config=here).out.split("\n")
        if line
    ]
    assert {row["file"]: (row["precision"], row["policy"]) for row in listed} == {
        FP32: ("fp32", "test"),
        INT8: ("int8", "test"),
    }
    told = json.loads(run("model", "info", folder / INT8, "--json", config=here).out)
    assert told["pipeline_id"] == said["pipeline_id"] == listed[1]["pipeline_id"]
    _compare(run, here, pictures)


def _compare(run, here, pictures):
    ended = run("model", "compare", pictures, "--json", config=here)
    said = json.loads(ended.out)
    assert (ended.code, said["pictures"]) == (0, 7)
    assert "notes.txt" in ended.err
    fp32, int8 = said["exports"]
    assert fp32["pipeline_id"] == said["torch"]["pipeline_id"] != int8["pipeline_id"]
    assert all(label["largest"] <= 2 for label in fp32["labels"].values())
    assert all(label["largest"] <= 200 for label in int8["labels"].values())
    assert all(one["pictures_per_second"] > 0 for one in (said["torch"], fp32, int8))
    shown = run("model", "compare", pictures, config=here)
    assert "7 pictures; torch:" in shown.out
    assert "largest" in shown.out


def test_an_export_for_another_policy_shows_in_the_list_and_a_broken_one_too(run, here, tmp_path):
    folder = here.parent / "exports"
    folder.mkdir()
    shutil.copy(SHIPPED / FP32, folder / "a.onnx")
    (folder / "b.onnx").write_bytes(b"broken")
    here.write_text('[scanner]\npolicy = "default"\nmodel = "ViT-B-32/openai"\n')
    first, second = map(
        json.loads, run("model", "list", "--json", config=here).out.strip().split("\n")
    )
    assert (first["file"], first["policy"]) == ("a.onnx", "another")
    assert "no ONNX file" in second["problem"]
    assert run("model", "info", folder / "b.onnx", config=here).code == 3


def test_a_folder_without_pictures_is_a_wrong_call(run, here, tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "empty").mkdir()
    ended = run("model", "compare", tmp_path / "empty", config=here)
    assert ended.code == 2
    assert "holds no picture" in ended.err


def test_nothing_to_compare_names_the_command(run, here, pictures):
    here.write_text('[scanner]\npolicy = "default"\nmodel = "ViT-B-32/openai"\n')
    ended = run("model", "compare", pictures, config=here)
    assert ended.code == 2
    assert "fediverdict model export" in ended.err


def test_agreement_counts_what_lies_on_the_other_side_of_its_threshold():
    before = [{"a": 4999, "b": 10}, {"a": 5000, "b": 10}, {"a": 7000, "b": 10}, {"a": 0, "b": 0}]
    after = [{"a": 5000, "b": 12}, {"a": 4999, "b": 10}, {"a": 5000, "b": 10}, {"a": 0, "b": 0}]
    found = compare(["w", "x", "y", "z"], before, after, {"a": 5000, "b": 9000})
    assert [(one.key, one.label, one.before, one.after) for one in found.changes] == [
        ("w", "a", 4999, 5000),
        ("x", "a", 5000, 4999),
    ]
    assert found.changed_share == 0.5
    assert (found.labels["a"].largest, found.labels["a"].changed) == (2000, 2)
    assert found.labels["a"].mean == (1 + 1 + 2000) / 4
    assert found.labels["b"].quantiles[0.5] == 0


def test_scores_of_other_pictures_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        compare(["w"], [{"a": 1}], [], {"a": 5000})


def test_fetch_says_where_the_weights_are_and_by_which_digest_to_pin_them(run, here):
    pytest.importorskip("torch")
    said = json.loads(run("model", "fetch", "--json", config=here).out)
    path = Path(said["path"])
    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert f'weights_sha256 = "{said["sha256"]}"' in run("model", "fetch", config=here).out


def test_fetch_refuses_weights_of_another_digest_and_a_model_nobody_knows(run, here):
    pytest.importorskip("torch")
    here.write_text('[scanner]\nmodel = "bundled"\nweights_sha256 = "' + "0" * 64 + '"\n')
    refused = run("model", "fetch", config=here)
    assert refused.code == 3
    assert "weights_sha256" in refused.err
    here.write_text('[scanner]\nmodel = "NoSuch/tag"\n')
    assert "knows no NoSuch" in run("model", "fetch", config=here).err
