"""Weights of pretrained tags: from the hub and from URLs, kept, pinned, offline.

The hub is a server on loopback that answers as the real one does: a HEAD tells commit, digest
and size and leads elsewhere, a GET leads to the content.
"""

import hashlib
import logging
import random
from functools import partial

import pytest

import scanner.classifiers.hub
from scanner.classifiers import fetching
from scanner.classifiers.fetching import (
    HOSTS,
    Tag,
    checked_sha256,
    fetch_weights,
    url_digest,
    weights_folder,
)
from scanner.classifiers.hub import find_on_hub, in_hub_cache, is_offline
from scanner.errors import DownloadError, ModelError
from scanner.settings import ScannerSettings
from tests.fakes.file_server import serving

pytest.importorskip("huggingface_hub")
DATA = random.Random(11).randbytes(400_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
COMMIT = "c" * 40
REPOSITORY = "timm/some_model"
SAFE, PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
TAG = Tag(REPOSITORY, (SAFE, PICKLED), "", {}, quick_gelu=False)


def place(name, revision="main"):
    return f"/{REPOSITORY}/resolve/{revision}/{name}"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "in_hub_cache", partial(in_hub_cache, cache=tmp_path / "hub"))


@pytest.fixture
def hub(monkeypatch):
    """A hub that has the safetensors file, at `main` and at its commit."""
    with serving(DATA) as state:
        about = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{DIGEST}"'}
        about["X-Linked-Size"] = str(len(DATA))
        state.headers = {place(SAFE, revision): about for revision in ("main", COMMIT)}
        state.redirect = f"http://localhost:{state.port}/content/blob"
        monkeypatch.setattr(scanner.classifiers.hub, "CONTENT_HOSTS", frozenset({"localhost"}))
        endpoint = f"http://127.0.0.1:{state.port}"
        monkeypatch.setattr(fetching, "find_on_hub", partial(find_on_hub, endpoint=endpoint))
        yield state


def settings(tmp_path, **others):
    return ScannerSettings(model="ViT-B-32/some", weights_folder=tmp_path / "weights", **others)


def missing(hub, name):
    hub.headers[place(name)] = {"X-Error-Code": "EntryNotFound", "X-Missing": "yes"}
    hub.redirect = None


def test_a_tag_comes_from_the_hub_once_at_the_commit_it_named(hub, tmp_path, caplog):
    shown = []
    with caplog.at_level(logging.INFO, "scanner.classifiers.fetching"):
        path = fetch_weights(settings(tmp_path), TAG, lambda *both: shown.append(both))
    assert path == tmp_path / "weights" / "timm--some_model" / "main" / SAFE
    assert path.read_bytes() == DATA
    assert shown[-1] == (len(DATA), len(DATA))
    assert ("GET", place(SAFE, COMMIT), None) in hub.asked
    assert f'scanner.weights_sha256 = "{DIGEST}"' in caplog.text
    assert COMMIT in caplog.text
    asked = len(hub.asked)
    assert fetch_weights(settings(tmp_path), TAG) == path
    assert len(hub.asked) == asked


def test_the_hubs_digest_is_held(hub, tmp_path):
    hub.data = DATA[:-1] + b"x"
    with pytest.raises(DownloadError, match="thrown away"):
        fetch_weights(settings(tmp_path), TAG)


def test_an_interrupted_download_from_the_hub_goes_on(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.breaks = [150_000]
    fetch_weights(settings(tmp_path), TAG)
    assert hub.asked[-1] == ("GET", "/content/blob", "bytes=150000-")


def test_a_pinned_revision_is_the_one_asked_for(hub, tmp_path):
    path = fetch_weights(settings(tmp_path, weights_revision=COMMIT), TAG)
    assert path.parent.name == COMMIT
    assert hub.asked[0][:2] == ("HEAD", place(SAFE, COMMIT))


def test_without_safetensors_the_other_file_is_taken(hub, tmp_path):
    missing(hub, SAFE)
    hub.headers[place(PICKLED)] = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{DIGEST}"'}
    hub.etag = None
    assert fetch_weights(settings(tmp_path), TAG).name == PICKLED


def test_a_repository_with_neither_file_is_refused(hub, tmp_path):
    missing(hub, SAFE)
    missing(hub, PICKLED)
    with pytest.raises(DownloadError, match=f"has none of {SAFE}, {PICKLED}"):
        fetch_weights(settings(tmp_path), TAG)


def test_a_hub_that_is_not_there_is_named(tmp_path, monkeypatch):
    with serving(DATA) as state:
        endpoint = f"http://127.0.0.1:{state.port}"
    monkeypatch.setattr(fetching, "find_on_hub", partial(find_on_hub, endpoint=endpoint))
    with pytest.raises(DownloadError, match=f"does not tell of {REPOSITORY} at main"):
        fetch_weights(settings(tmp_path), TAG)


def test_a_pin_is_held_where_the_hub_says_otherwise_before_anything_is_fetched(hub, tmp_path):
    with pytest.raises(DownloadError, match="nothing was fetched"):
        fetch_weights(settings(tmp_path, weights_sha256="0" * 64), TAG)
    assert all(method == "HEAD" for method, _, _ in hub.asked)
    assert fetch_weights(settings(tmp_path, weights_sha256=DIGEST), TAG).is_file()


def test_a_pinned_download_says_nothing_of_pinning(hub, tmp_path, caplog):
    fetch_weights(settings(tmp_path, weights_sha256=DIGEST), TAG)
    assert "pins" not in caplog.text


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_nobody_is_asked_but_what_is_here_is_used(hub, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids"):
        fetch_weights(settings(tmp_path), TAG)
    url = "https://github.com/a/b-12345678.pt"
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids"):
        fetch_weights(settings(tmp_path, weights_from="url"), Tag("", (), url, {}, False))
    assert hub.asked == []
    monkeypatch.delenv(name)
    path = fetch_weights(settings(tmp_path), TAG)
    monkeypatch.setenv(name, "yes")
    assert is_offline()
    assert fetch_weights(settings(tmp_path), TAG) == path


def test_what_the_hubs_own_cache_holds_is_used_from_there(tmp_path, monkeypatch):
    """The layout of huggingface_hub: refs/REVISION names the commit, snapshots/COMMIT the files."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = tmp_path / "hub" / "models--timm--some_model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    blob = repository / "blobs" / DIGEST
    blob.parent.mkdir()
    blob.write_bytes(DATA)
    (snapshot / SAFE).symlink_to(blob)
    assert fetch_weights(settings(tmp_path), TAG) == snapshot / SAFE
    assert checked_sha256(snapshot / SAFE) == DIGEST
    blob.write_bytes(DATA + b"x")
    with pytest.raises(ModelError, match="damaged or changed here"):
        checked_sha256(snapshot / SAFE)


def test_a_tag_comes_from_its_url_where_that_is_wanted(tmp_path, monkeypatch):
    with serving(DATA) as state:
        url = f"http://127.0.0.1:{state.port}/models/{DIGEST}/weights.pt"
        monkeypatch.setitem(HOSTS, "127.0.0.1", frozenset({"127.0.0.1"}))
        path = fetch_weights(settings(tmp_path, weights_from="url"), Tag("", (), url, {}, False))
        assert path == tmp_path / "weights" / "127.0.0.1" / "weights.pt"
        assert path.read_bytes() == DATA
        path.unlink()
        state.data = DATA + b"x"
        with pytest.raises(DownloadError, match="thrown away"):
            fetch_weights(settings(tmp_path, weights_from="url"), Tag("", (), url, {}, False))


def test_the_size_limit_and_the_stall_time_are_the_settings(hub, tmp_path):
    with pytest.raises(DownloadError, match=r"over scanner\.weights_bytes"):
        fetch_weights(settings(tmp_path, weights_bytes=len(DATA) - 1), TAG)
    assert fetch_weights(settings(tmp_path, weights_bytes=len(DATA)), TAG).is_file()


@pytest.mark.parametrize(
    ("tag", "source", "words"),
    [
        (TAG, "url", "has no URL"),
        (Tag("", (), "https://github.com/a.pt", {}, False), "hub", "is on no hub"),
        (Tag("", (), "https://example.org/a.pt", {}, False), "url", "none of the hosts"),
    ],
)
def test_what_a_tag_lacks_is_told(tmp_path, tag, source, words):
    with pytest.raises(DownloadError, match=words):
        fetch_weights(settings(tmp_path, weights_from=source), tag)


def test_every_url_that_open_clip_names_lies_on_a_host_we_ask():
    pytest.importorskip("open_clip")
    from open_clip.pretrained import _PRETRAINED  # noqa: PLC0415

    urls = {tag["url"] for tags in _PRETRAINED.values() for tag in tags.values() if tag["url"]}
    assert len(urls) > 20
    hosts = {url.split("/")[2] for url in urls}
    assert hosts <= HOSTS.keys()
    digits = {len(url_digest(url)) for url in urls if "fbaipublic" not in url}
    assert digits == {8, 64}


def test_weights_lie_in_the_users_cache_unless_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder(ScannerSettings()) == tmp_path / "fediverdict" / "weights"
    assert weights_folder(ScannerSettings(weights_folder=tmp_path / "a")) == tmp_path / "a"


@pytest.mark.parametrize("revision", ["", "../main", "a/b", "main?x", "-x", "a" * 101])
def test_a_revision_that_is_none_is_refused(revision):
    with pytest.raises(ValueError, match="weights_revision"):
        ScannerSettings(weights_revision=revision)
