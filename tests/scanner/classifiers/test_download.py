"""Downloads from a real server on loopback: resumed, bounded, held to the digest."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from scanner.classifiers.download import (
    FRUITLESS_MAX,
    REDIRECTS_MAX,
    STALL_BYTES,
    Bounds,
    Remote,
    _place,
    download,
    recorded_digest,
)
from scanner.errors import DownloadError
from tests.fakes.file_server import serving
from tests.waiting import PATIENCE

DATA = random.Random(7).randbytes(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
BOUNDS = Bounds(bytes_max=len(DATA), stall_seconds=PATIENCE)
HERE = frozenset({"127.0.0.1"})


@pytest.fixture
def server():
    with serving(DATA) as state:
        yield state


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "weights.safetensors"


def fetch(server, target, bounds=BOUNDS, progress=None, **known):
    remote = Remote(server.url, HERE, **{"sha256": DIGEST, "scheme": "http", **known})
    pauses: list[float] = []
    digest = download(remote, target, bounds, progress, pauses.append)
    return digest, pauses


def left(target):
    """The files in the folder, the lock apart."""
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


def test_a_file_comes_whole_with_its_digest_beside_it(server, target):
    shown = []
    digest, pauses = fetch(server, target, progress=lambda *both: shown.append(both))
    assert target.read_bytes() == DATA
    assert (digest, recorded_digest(target), pauses) == (DIGEST, DIGEST, [])
    assert left(target) == [target.name, f"{target.name}.sha256"]
    assert shown[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in shown] == sorted({done for done, _ in shown})
    checked = subprocess.run(
        ["sha256sum", "--check", f"{target.name}.sha256"], cwd=target.parent, check=False
    )
    assert checked.returncode == 0


def test_a_broken_connection_is_resumed_where_it_broke(server, target):
    server.breaks = [1_000_000, 500_000]
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert [asked for _, _, asked in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_process_killed_in_the_middle_is_resumed_by_the_next(server, target):
    server.stalls = [2_000_000]
    code = (
        "import sys; from pathlib import Path; from scanner.classifiers.download import *\n"
        f"download(Remote({server.url!r}, frozenset({{'127.0.0.1'}}), {DIGEST!r}, scheme='http'),"
        f" Path({str(target)!r}), Bounds({len(DATA)}, 60))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    part = target.with_name(f"{target.name}.part")
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size >= 1_000_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    arrived = part.stat().st_size
    assert not target.exists()
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert server.asked[-1][2] == f"bytes={arrived}-"


def test_a_file_that_changed_meanwhile_is_read_from_the_start(server, target):
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(b"x" * 1000)
    Path(f"{part}.etag").write_text('"another"')
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert server.asked[0][2] == "bytes=1000-"


@pytest.mark.parametrize("left_by_a_crash", [b"", bytes(40), b"\xff\xfe", b'"a"\r\nX: y', b"x\0"])
def test_a_validator_that_a_crash_damaged_is_not_sent(server, target, left_by_a_crash):
    target.parent.mkdir()
    target.with_name(f"{target.name}.part").write_bytes(b"x" * 1000)
    target.with_name(f"{target.name}.part.etag").write_bytes(left_by_a_crash)
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert server.asked[0][2] is None


@pytest.mark.parametrize("name", ["{}.part", "{}.part.etag"])
def test_a_link_that_somebody_put_in_the_way_is_not_followed(server, target, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    target.parent.mkdir()
    part, etag = (target.with_name(f"{target.name}{end}") for end in (".part", ".part.etag"))
    part.write_bytes(b"x" * 10)
    etag.write_text(server.etag or '"a"')
    link = target.with_name(name.format(target.name))
    link.unlink()
    link.symlink_to(victim)
    with suppress(DownloadError):
        fetch(server, target)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("length", ["9" * 5_000, "-1", "1e9", ""])
def test_a_length_that_is_no_number_is_none(length):
    answer = SimpleNamespace(status=200, headers={"Content-Length": length})
    assert _place(answer) == (0, None)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_pieced_together(server, target, etag):
    server.etag = etag
    server.breaks = [1_000_000]
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert [asked for _, _, asked in server.asked] == [None, None]


def test_a_server_that_knows_no_ranges_is_read_from_the_start(server, target):
    server.ranges = False
    server.breaks = [1_000_000]
    fetch(server, target)
    assert target.read_bytes() == DATA


def test_a_part_that_is_whole_already_is_only_checked(server, target):
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(DATA)
    Path(f"{part}.etag").write_text('"one"')
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert [asked for _, _, asked in server.asked] == [f"bytes={len(DATA)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server, target):
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(DATA + b"more")
    Path(f"{part}.etag").write_text('"one"')
    fetch(server, target)
    assert target.read_bytes() == DATA


def test_a_wrong_digest_is_refused_and_nothing_of_it_is_kept(server, target):
    with pytest.raises(DownloadError, match="thrown away"):
        fetch(server, target, sha256="0" * 64)
    assert left(target) == []


def test_a_damaged_part_is_refused_and_the_next_try_begins_anew(server, target):
    target.parent.mkdir()
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(b"x" * 1_000_000)
    Path(f"{part}.etag").write_text('"one"')
    with pytest.raises(DownloadError, match="thrown away"):
        fetch(server, target)
    fetch(server, target)
    assert target.read_bytes() == DATA


def test_the_first_digits_of_a_digest_are_held_as_well(server, target):
    assert fetch(server, target, sha256=DIGEST[:8])[0] == DIGEST
    target.unlink()
    with pytest.raises(DownloadError, match="instead of 00000000"):
        fetch(server, target, sha256="00000000")


def test_a_file_of_just_the_limit_comes_and_one_byte_more_is_refused(server, target):
    fetch(server, target, bounds=replace(BOUNDS, bytes_max=len(DATA)))
    target.unlink()
    with pytest.raises(DownloadError, match=r"over scanner\.weights_bytes"):
        fetch(server, target, bounds=replace(BOUNDS, bytes_max=len(DATA) - 1))
    assert not any(name.endswith(".part") for name in left(target))


def test_a_file_that_does_not_say_its_length_is_cut_off_at_the_limit(server, target):
    server.length = False
    with pytest.raises(DownloadError, match=r"over scanner\.weights_bytes"):
        fetch(server, target, bounds=replace(BOUNDS, bytes_max=len(DATA) - 1))
    assert fetch(server, target)[0] == DIGEST


def test_a_file_without_length_and_digest_is_refused(server, target):
    server.length = False
    with pytest.raises(DownloadError, match="nor its digest"):
        fetch(server, target, sha256="")


def test_another_size_than_the_announced_one_is_refused(server, target):
    with pytest.raises(DownloadError, match=f"{len(DATA)} bytes instead of 5"):
        fetch(server, target, size=5)
    with pytest.raises(DownloadError, match="over"):
        fetch(server, target, size=len(DATA) + 1)
    assert len(server.asked) == 1


def test_a_server_that_falls_silent_is_asked_again(server, target):
    server.stalls = [1_000_000]
    fetch(server, target, bounds=replace(BOUNDS, stall_seconds=0.5))
    assert target.read_bytes() == DATA
    assert server.asked[-1][2] == "bytes=1000000-"


def test_a_server_that_drips_is_given_up(server, target):
    """A byte now and then keeps a socket's timeout from ever running out."""
    server.drip_seconds = 0.02
    with pytest.raises(DownloadError, match=f"under {STALL_BYTES} bytes in"):
        fetch(server, target, bounds=replace(BOUNDS, stall_seconds=0.2))
    assert len(server.asked) == FRUITLESS_MAX
    assert server.dripped < 20 * FRUITLESS_MAX  # ten in the time that it is waited for


def test_busy_servers_are_asked_again_with_growing_pauses(server, target):
    server.statuses = [503, 429, 500]
    _, pauses = fetch(server, target)
    assert target.read_bytes() == DATA
    assert pauses == [2, 4, 8]


def test_a_server_that_stays_busy_is_given_up_and_what_came_is_kept(server, target):
    server.breaks = [1_000_000]
    part = target.with_name(f"{target.name}.part")

    def busy(*_):
        server.statuses = [503] * 50

    with pytest.raises(DownloadError, match="kept in"):
        fetch(server, target, progress=busy)
    assert part.read_bytes() == DATA[:1_000_000]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server, target, status):
    server.statuses = [status]
    with pytest.raises(DownloadError, match=f"not to be had: {status}"):
        fetch(server, target)
    assert len(server.asked) == 1


def test_a_redirect_to_an_allowed_host_is_followed_when_resuming_too(server, target):
    server.redirect = f"http://127.0.0.1:{server.port}/content/1"
    server.breaks = [1_000_000]
    fetch(server, target)
    assert target.read_bytes() == DATA
    assert ("GET", "/content/1", "bytes=1000000-") in server.asked


@pytest.mark.parametrize(
    "elsewhere", ["http://localhost:{port}/content", "https://127.0.0.1:{port}/content"]
)
def test_a_redirect_to_another_host_or_scheme_is_not_followed(server, target, elsewhere):
    server.redirect = elsewhere.format(port=server.port)
    with pytest.raises(DownloadError, match="leads to"):
        fetch(server, target)
    assert len(server.asked) == 1


def test_redirects_in_a_circle_end(server, target):
    server.redirect = server.url
    with pytest.raises(DownloadError, match="not to be had"):
        fetch(server, target)
    assert len(server.asked) <= REDIRECTS_MAX + 1


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "http://example.org/a", "ftp://127.0.0.1/a", "data:,a", "x"]
)
def test_only_allowed_hosts_are_asked(target, url):
    with pytest.raises(DownloadError, match="no address"):
        download(Remote(url, HERE, scheme="http"), target, BOUNDS)


def test_a_name_below_an_allowed_domain_is_allowed_and_one_that_ends_alike_is_not(target):
    for host, words in (("a.example.invalid", "breaks off"), ("aexample.invalid", "no address")):
        remote = Remote(f"http://{host}/a", frozenset({".example.invalid"}), scheme="http")
        with pytest.raises(DownloadError, match=words):
            download(remote, target, BOUNDS, pause=lambda _: None)


def test_a_file_that_another_process_fetches_is_left_to_it(server, target):
    target.parent.mkdir()
    with FileLock(f"{target}.lock"), pytest.raises(DownloadError, match="another process"):
        fetch(server, target)
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DownloadError, match=r"scanner\.weights_folder"):
        fetch(server, blocked / "weights.safetensors")


def test_a_full_disk_is_told_before_anything_is_written(server, target, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": len(DATA) - 1}))
    with pytest.raises(DownloadError, match="bytes free"):
        fetch(server, target)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": len(DATA)}))
    fetch(server, target)


def test_a_proxy_of_the_environment_is_used(server, target, monkeypatch):
    """The server on loopback plays the proxy: it is asked for the whole URL."""
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    url = "http://weights.example.invalid/a"
    remote = Remote(url, frozenset({"weights.example.invalid"}), DIGEST, scheme="http")
    assert download(remote, target, BOUNDS) == DIGEST
    assert server.asked[0][1] == url
