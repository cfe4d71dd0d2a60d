"""Writing a file anew in place: all or nothing, and only the one that was meant."""

import os
import stat

import pytest

from fediverdict.rewriting import replace_file
from scanner.errors import SourceChanged, SourceError, StripError
from scanner.formats.strip_process import strip_apart
from scanner.limits import Limits
from scanner.sources import files
from tests.fediverdict.test_judge import GREEN, png

SECONDS = 20
MEMORY = 1_500_000_000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"before")
    return tmp_path


def listed(folder, key="a/x.png"):
    item = files.find(folder, key)
    assert item is not None
    return item


def names(folder):
    return sorted(path.name for path in (folder / "a").iterdir())


def test_the_new_bytes_stand_there_with_the_old_mode_and_times(folder):
    target = folder / "a" / "x.png"
    target.chmod(0o604)
    os.utime(target, ns=(5, 7))
    replace_file(folder, listed(folder), b"after")
    found = target.stat()
    assert target.read_bytes() == b"after"
    assert (stat.S_IMODE(found.st_mode), found.st_atime_ns, found.st_mtime_ns) == (0o604, 5, 7)
    assert names(folder) == ["x.png"]


def test_a_file_that_changed_is_left_as_it_is(folder):
    item = listed(folder)
    (folder / "a" / "x.png").write_bytes(b"another")
    with pytest.raises(SourceChanged):
        replace_file(folder, item, b"after")
    assert (folder / "a" / "x.png").read_bytes() == b"another"
    assert names(folder) == ["x.png"]


def test_a_file_that_is_gone_does_not_come_back(folder):
    item = listed(folder)
    (folder / "a" / "x.png").unlink()
    with pytest.raises(SourceChanged):
        replace_file(folder, item, b"after")
    assert names(folder) == []


def test_what_became_a_link_is_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.png").write_bytes(b"before")
    item = listed(folder)
    (folder / "a").rename(folder / "b")
    (folder / "a").symlink_to(outside)
    with pytest.raises(SourceError):
        replace_file(folder, item, b"after")
    assert (outside / "x.png").read_bytes() == b"before"


@pytest.mark.parametrize("key", ["../x.png", "/x.png", "a/../x.png", "a//x.png", ""])
def test_no_key_leads_out_of_the_folder(folder, key):
    item = listed(folder)
    with pytest.raises(SourceError):
        replace_file(folder, type(item)(key, item.size, item.mark), b"after")


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    item = listed(folder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceError, match="No space left"):
        replace_file(folder, item, b"after")
    assert (folder / "a" / "x.png").read_bytes() == b"before"
    assert names(folder) == ["x.png"]


def test_what_a_killed_process_left_is_replaced_and_no_link_there_is_followed(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(os, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            replace_file(folder, listed(folder), b"half")
    [left] = [name for name in names(folder) if name != "x.png"]
    (folder / "a" / left).unlink()
    (folder / "victim").write_bytes(b"precious")
    (folder / "a" / left).symlink_to(folder / "victim")
    replace_file(folder, listed(folder), b"after")
    assert (folder / "victim").read_bytes() == b"precious"
    assert (folder / "a" / "x.png").read_bytes() == b"after"
    assert names(folder) == ["x.png"]


async def strip(data, seconds=SECONDS, memory=MEMORY):
    return await strip_apart(data, Limits(), memory_bytes=memory, decode_seconds=seconds)


async def test_stripping_apart_gives_what_stripping_gives():
    picture = png(GREEN, 3)
    assert b"PK" not in await strip(picture + b"PK\x03\x04 and so on")


async def test_what_cannot_be_stripped_is_said_in_one_sentence():
    with pytest.raises(StripError, match=r"\w"):
        await strip(b"no picture at all")


async def test_a_process_that_takes_too_long_or_too_much_is_ended():
    with pytest.raises(StripError, match="too long"):
        await strip(png(GREEN, 3), seconds=0.001)
    with pytest.raises(StripError):
        await strip(png(GREEN, 3), memory=1_000_000)
