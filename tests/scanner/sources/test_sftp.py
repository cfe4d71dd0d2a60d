"""SFTP, against a real OpenSSH server, and against servers that misbehave."""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import asyncssh
import pytest
from pydantic import SecretStr

from scanner.errors import OverLimit, SourceChanged, SourceError, SourceUnreachable
from scanner.sources.open import open_source
from scanner.sources.settings import SftpSettings
from scanner.sources.wanted import KEY_BYTES_MAX
from tests.fakes.sshd import SSHD, Sshd, make_key
from tests.scanner.sources.helpers import Watching, collect, deep, descriptors, keys, one
from tests.waiting import PATIENCE, happens


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if SSHD is None:
        pytest.skip("no sshd here; Debian: apt-get install openssh-server")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "pictures"
    for number in range(40):
        path = root / f"{number % 5}" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    return root


@pytest.fixture
def said():
    return []


@pytest.fixture
async def opened(server, root, said):
    sources = []

    def make(**given):
        values = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": server.user,
            "path": str(root),
            "key_file": server.key_file,
            "timeout_seconds": PATIENCE,
        }
        if "known_hosts" not in given:
            values["host_key"] = server.fingerprint
        sources.append(open_source(SftpSettings(kind="sftp", **{**values, **given}), said.append))
        return sources[-1]

    yield make
    for source in sources:
        await source.close()


@pytest.fixture
def source(opened):
    return opened()


async def test_every_file_is_listed_sorted_with_what_it_promises(source, root, server):
    found = await collect(source.list())
    assert len(found) == 40
    assert [item.key.split("/") for item in found] == sorted(i.key.split("/") for i in found)
    status = (root / found[0].key).stat()
    assert (found[0].size, found[0].modified) == (status.st_size, int(status.st_mtime))
    assert source.location == f"sftp://{server.user}@127.0.0.1:{server.port}{root}"
    assert source.can_undo_delete is False


async def test_a_listing_cut_short_anywhere_goes_on_without_missing_any(source):
    whole = await keys(source.list())
    for cut in range(1, 40, 7):
        before = await collect(source.list(), cut)
        assert [i.key for i in before] + await keys(source.list(before[-1].cursor)) == whole


@pytest.mark.parametrize("prefix", ["3", "3/", "3/1", "3/1/1", "none/", "3/../4/", "/", "../"])
async def test_a_prefix_narrows_the_listing(source, prefix):
    whole = await keys(source.list())
    assert await keys(source.list(prefix=prefix)) == [k for k in whole if k.startswith(prefix)]


async def test_links_lead_nowhere(opened, root, said, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1.png").write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "outside" / "1.png")
    (root / "linked").symlink_to(tmp_path / "outside")
    source = opened()
    whole = await collect(source.list())
    assert len(whole) == 40
    assert sorted("link.png" in text for text in said) == [False, True]
    assert await keys(source.list(prefix="linked/")) == []
    item = whole[0]
    for key in ("link.png", "linked/1.png"):
        forged = type(item)(key, 6, item.mark)
        for call in (source.read(forged, 100), source.delete(forged)):
            with pytest.raises(SourceChanged, match="link"):
                await call


async def test_the_folder_itself_may_be_a_link(opened, root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    source = opened(path=str(tmp_path / "alias"))
    assert await source.read(await one(source, "1/1/1.png"), 10) == b"1"


async def test_a_file_at_the_limit_is_read_and_one_byte_more_is_not(source, root):
    (root / "a.png").write_bytes(bytes(range(256)) * 4_000)
    item = await one(source, "a.png")
    assert await source.read(item, item.size) == (root / "a.png").read_bytes()
    with pytest.raises(OverLimit):
        await source.read(item, item.size - 1)


async def test_what_changed_is_neither_read_nor_deleted(source, root):
    item = await one(source, "1/1/1.png")
    (root / item.key).write_bytes(b"other")
    for call in (source.read(item, 10), source.delete(item)):
        with pytest.raises(SourceChanged, match="has changed"):
            await call
    assert (root / item.key).read_bytes() == b"other"
    (root / item.key).unlink()
    for call in (source.read(item, 10), source.delete(item)):
        with pytest.raises(SourceChanged):
            await call


async def test_what_was_judged_is_deleted(source, root):
    item = await one(source, "1/1/1.png")
    await source.delete(item)
    assert not (root / item.key).exists()


@pytest.mark.parametrize("name", ["a\nb.png", " ", "-rf", "$(id)", "ü😀.png", "a\\b", "*"])
async def test_odd_names_are_read_and_deleted_like_others(source, root, name):
    (root / name).write_bytes(b"odd")
    (root / "keep").write_bytes(b"keep")
    item = await one(source, name)
    assert await source.read(item, 3) == b"odd"
    await source.delete(item)
    assert not (root / name).exists()
    assert (root / "keep").exists()


async def test_a_name_that_is_no_text_is_reported(source, root, said):
    (root / os.fsdecode(b"\xff.png")).write_bytes(b"odd")
    assert len(await keys(source.list())) == 40
    assert "no UTF-8" in said[0]


@pytest.mark.parametrize("key", ["../pictures/1/1/1.png", "/etc/hostname", "1//1/1.png", "", "a\0"])
async def test_a_key_that_leads_elsewhere_is_neither_read_nor_deleted(source, key):
    item = await one(source, "1/1/1.png")
    forged = type(item)(key, item.size, item.mark)
    for call in (source.read(forged, 100), source.delete(forged)):
        with pytest.raises(SourceError, match="no key"):
            await call


async def test_names_at_the_limit_are_listed_and_one_more_is_reported(opened, root, said):
    for number in range(5):
        (root / f"{number}.png").touch()
    assert len(await keys(opened(folder_items=10).list())) == 45
    (root / "5.png").touch()
    with pytest.raises(SourceError, match="raise folder_items"):
        await keys(opened(folder_items=10).list())
    assert said == []


async def test_an_unreadable_folder_inside_is_reported(opened, root, said, monkeypatch):
    source = opened(folder_items=10)
    for number in range(11):
        (root / "3" / f"{number}.png").touch()
    assert len(await keys(source.list())) == 32
    assert "more than 10 names" in said[0]


async def test_a_folder_that_is_not_there_is_named(opened, root):
    with pytest.raises(SourceError, match="no such file or folder"):
        await keys(opened(path=str(root / "none")).list())


async def test_a_known_hosts_file_names_the_server(opened, server):
    source = opened(known_hosts=server.known_hosts)
    assert len(await keys(source.list())) == 40


async def test_a_key_that_is_not_the_pinned_one_ends_it(opened, server, tmp_path):
    wrong = make_key(tmp_path / "wrong")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'wrong.pub').read_text()}")
    empty = tmp_path / "empty"
    empty.touch()
    for given in ({"host_key": wrong}, {"known_hosts": hosts}, {"known_hosts": empty}):
        with pytest.raises(SourceUnreachable, match="does not name") as error:
            await keys(opened(**given).list())
        assert "host_key" not in given or server.fingerprint in str(error.value)


async def test_a_known_hosts_file_that_is_not_there_is_not_taken_for_consent(opened, tmp_path):
    with pytest.raises(SourceUnreachable):
        await keys(opened(known_hosts=tmp_path / "none").list())


async def test_a_key_that_the_server_does_not_know_is_refused(opened, tmp_path):
    make_key(tmp_path / "stranger")
    with pytest.raises(SourceUnreachable, match="refuses the account"):
        await keys(opened(key_file=tmp_path / "stranger").list())


async def test_a_password_is_sent_to_the_pinned_server_alone_and_never_shown(
    opened, tmp_path, caplog
):
    wrong = make_key(tmp_path / "wrong")
    source = opened(key_file=None, password="very-secret", host_key=wrong)
    with pytest.raises(SourceUnreachable, match="does not name") as first:
        await keys(source.list())
    source = opened(key_file=None, password="very-secret")
    with pytest.raises(SourceUnreachable, match="refuses the account") as second:
        await keys(source.list())
    said = f"{first.value}{second.value}{source.location}{caplog.text}{source._settings!r}"
    assert "very-secret" not in said


async def test_a_key_with_a_passphrase_is_opened(opened, server, tmp_path):
    make_key(tmp_path / "locked", "open sesame")
    with (server.folder / "authorized_keys").open("a") as file:
        file.write((tmp_path / "locked.pub").read_text())
    source = opened(key_file=tmp_path / "locked", passphrase="open sesame")
    assert len(await keys(source.list())) == 40
    for given in ({}, {"passphrase": "wrong-one"}):
        with pytest.raises(SourceUnreachable, match="passphrase") as error:
            await keys(opened(key_file=tmp_path / "locked", **given).list())
        assert "wrong-one" not in str(error.value)


async def test_a_dropped_connection_is_opened_again_once(source, server):
    whole = await collect(source.list())
    server.drop_connections()
    assert await keys(source.list()) == [item.key for item in whole]
    server.drop_connections()
    datas = await asyncio.gather(*(source.read(item, 10) for item in whole))
    assert datas == [Path(item.key).stem.encode() for item in whole]


async def test_a_watch_lists_again_and_gives_what_is_new_or_changed(opened, root):
    watch = Watching(opened(poll_seconds=0.1).watch(prefix="0/"))
    for _ in range(8):
        await watch.next()
    (root / "0" / "new.png").write_bytes(b"new")
    assert (await watch.next()).key == "0/new.png"
    (root / "0" / "new.png").write_bytes(b"changed")
    assert (await watch.next()).size == 7
    assert await watch.nothing()
    await watch.stop()


async def test_a_closed_source_leaves_no_descriptor(opened):
    before = descriptors()
    source = opened()
    await collect(source.list(), 3)
    await source.close()
    await asyncio.sleep(0.1)
    assert descriptors() <= before


class Hostile(asyncssh.SFTPServer):
    """Lists names that no file system has, or keeps silent."""

    names: Iterable[bytes] = ()
    silent = False

    def __init__(self, channel):
        super().__init__(channel)

    async def scandir(self, path):
        del path
        if self.silent:
            await asyncio.sleep(60)
        for name in self.names:
            attrs = asyncssh.SFTPAttrs(permissions=0o100644, size=5, mtime=1, atime=1)
            yield asyncssh.SFTPName(name, attrs=attrs)


class Open(asyncssh.SSHServer):
    def begin_auth(self, username):
        del username
        return False


@contextlib.asynccontextmanager
async def hostile(tmp_path, **behaviour):
    """Run a server that misbehaves; yields the settings that reach it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    factory = type("Behaving", (Hostile,), behaviour)
    async with asyncssh.listen(
        "127.0.0.1", 0, server_factory=Open, server_host_keys=[key], sftp_factory=factory
    ) as listener:
        yield SftpSettings(
            kind="sftp",
            host="127.0.0.1",
            port=listener.get_port(),
            user="anyone",
            path=str(tmp_path),
            host_key=key.get_fingerprint(),
            password=SecretStr("x"),
            timeout_seconds=1,
            folder_items=100,
        )


async def test_names_that_lead_elsewhere_are_left_out(tmp_path, said):
    names = (b".", b"..", b"../up.png", b"a/b.png", b"/etc/passwd", b"nul\0.png", b"", b"good.png")
    async with hostile(tmp_path, names=names) as settings:
        source = open_source(settings, said.append)
        assert await keys(source.list()) == ["good.png"]
        await source.close()
    assert len(said) == 5


@pytest.mark.parametrize("name", [b"%d", b".", b".."])
async def test_a_listing_without_end_is_cut_off(tmp_path, name):
    def endless():
        number = 0
        while True:
            yield name % (number := number + 1) if b"%" in name else name

    async with hostile(tmp_path, names=endless()) as settings:
        source = open_source(settings)
        with pytest.raises(SourceError, match="more than 100 names"):
            await keys(source.list())
        await source.close()


async def test_a_server_that_keeps_silent_is_given_up_in_time(tmp_path):
    async with hostile(tmp_path, silent=True) as settings:
        source = open_source(settings)
        with pytest.raises(SourceUnreachable, match="no answer within 1 s"):
            await happens(keys(source.list()))
        await source.close()


async def test_a_port_that_says_nothing_is_given_up_in_time(tmp_path):
    async def silent(reader, writer):
        del writer
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    settings = SftpSettings(
        kind="sftp",
        host="127.0.0.1",
        port=server.sockets[0].getsockname()[1],
        user="anyone",
        password=SecretStr("x"),
        host_key="SHA256:" + "A" * 43,
        timeout_seconds=0.5,
    )
    with pytest.raises(SourceUnreachable, match="no answer within"):
        await happens(keys(open_source(settings).list()))
    server.close()


async def test_a_port_that_nobody_serves_is_an_error_in_words():
    settings = SftpSettings(
        kind="sftp",
        host="127.0.0.1",
        port=9,
        user="x",
        password=SecretStr("x"),
        host_key="SHA256:" + "A" * 43,
    )
    with pytest.raises(SourceUnreachable, match="cannot connect"):
        await keys(open_source(settings).list())


async def test_a_key_at_the_limit_is_listed_and_one_byte_more_is_reported(source, root, said):
    listed, left_out = deep(root, KEY_BYTES_MAX), deep(root, KEY_BYTES_MAX + 1)
    found = await keys(source.list())
    assert listed in found
    assert left_out not in found
    assert f"more than {KEY_BYTES_MAX} bytes" in said[0]
    assert len(said[0]) < 1300
