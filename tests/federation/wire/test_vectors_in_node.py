"""The committed vectors hold for an implementation that shares no line with ours.

`verify.mjs` was written from docs/wire.md alone, in another language, with its own canonical JSON,
base58 and Ed25519; what it reads out of the documents is compared with what is read here.
"""

import json
import shutil
import subprocess

import pytest

from tests.federation.vectors import make
from tests.waiting import PATIENCE

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node here")


def verify(folder):
    command = [str(NODE), str(make.FOLDER / "verify.mjs"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def copies(tmp_path):
    for file in make.FOLDER.glob("*.json"):
        shutil.copy(file, tmp_path)
    return tmp_path


def spoil(folder, name, change):
    file = folder / f"{name}.json"
    vector = json.loads(file.read_text(encoding="utf-8"))
    change(vector)
    file.write_text(json.dumps(vector), encoding="utf-8")


def test_another_implementation_verifies_every_vector_and_reads_the_same():
    done = verify(make.FOLDER)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    rows = [make.EPOCH + f"/{seq}" for seq in (2, 5)]
    assert read["standing"] == rows
    assert [page["page"] for page in read["merged"]] == [1, 2]
    assert [place for place, _ in read["part"]] == [
        [make.PREVIOUS_EPOCH, 12],
        [make.EPOCH, 2],
        [make.EPOCH, 5],
    ]
    (first, row), *_ = read["pages"][0]["rows"]
    assert (first, row["pipeline"], row["scores"]) == (
        1,
        make.PIPELINE,
        {"urn:fediverdict:label:shape": 9_981, "urn:fediverdict:label:test-pattern": 3},
    )


@pytest.mark.parametrize("name", ["clean-page", "merged-pages", "feed-head", "snapshot-manifest"])
def test_another_implementation_refuses_a_proof_by_another_key(copies, name):
    other = json.loads((copies / "flagged-page.json").read_text(encoding="utf-8"))
    key = other["publicKeyMultibase"]
    spoil(copies, name, lambda vector: vector.update(publicKeyMultibase=key))
    done = verify(copies)
    assert (done.returncode, done.stderr) == (1, "the signature\n")


def test_another_implementation_refuses_a_document_that_was_changed(copies):
    spoil(copies, "snapshot-part", lambda vector: vector["document"].update(throughPage=3))
    done = verify(copies)
    assert (done.returncode, done.stderr) == (1, "snapshot-part.json: canonical form\n")
