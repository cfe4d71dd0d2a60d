"""The folder as a source: resumable, changed files told apart, links deleted by nobody."""

import asyncio
import contextlib
import os
import sys
import time

import pytest

from scanner.errors import OverLimit, SourceChanged, SourceError
from scanner.sources.open import open_source
from scanner.sources.settings import FolderSettings
from scanner.sources.wanted import KEY_BYTES_MAX
from tests.scanner.sources.helpers import collect, deep, descriptors, keys, one


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "pictures"
    for number in range(60):
        path = root / f"{number % 7}" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
    return root


@pytest.fixture
def said():
    return []


@pytest.fixture
def source(root, said):
    return open_source(FolderSettings(path=root, page_items=7), said.append)


async def test_every_file_is_listed_sorted_with_what_it_promises(source, root):
    found = await collect(source.list())
    assert len(found) == 60
    assert [item.key.split("/") for item in found] == sorted(i.key.split("/") for i in found)
    first = found[0]
    status = (root / first.key).stat()
    assert (first.size, first.modified, first.cursor) == (
        status.st_size,
        status.st_mtime,
        first.key,
    )
    assert (source.kind, source.location, source.can_undo_delete) == ("folder", str(root), False)


async def test_a_listing_cut_short_anywhere_goes_on_without_missing_any(source):
    whole = await keys(source.list())
    for cut in range(1, len(whole), 5):
        before = await collect(source.list(), cut)
        rest = await keys(source.list(before[-1].cursor))
        assert [item.key for item in before] + rest == whole


async def test_a_listing_goes_on_behind_a_file_that_is_gone(source, root):
    whole = await keys(source.list())
    (root / whole[10]).unlink()
    assert await keys(source.list(whole[10])) == whole[11:]


async def test_going_on_looks_at_no_file_that_was_given(source, root, monkeypatch):
    whole = await keys(source.list())
    asked = []
    real = os.stat

    def stat(path, **named):
        asked.append(path)
        return real(path, **named)

    monkeypatch.setattr("scanner.sources.files.os.stat", stat)
    await keys(source.list(whole[-3]))
    assert len(asked) == 2


@pytest.mark.parametrize("prefix", ["3", "3/", "3/1", "3/1/1", "none/", "3/../4/", "/", "../"])
async def test_a_prefix_narrows_the_listing(source, prefix):
    whole = await keys(source.list())
    assert await keys(source.list(prefix=prefix)) == [k for k in whole if k.startswith(prefix)]


async def test_a_prefix_leads_through_no_link(source, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.png").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "outside")
    assert await keys(source.list(prefix="link/")) == []


async def test_names_at_the_limit_are_listed_and_one_more_is_reported(root, said):
    folder = root / "many"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}").touch()
    source = open_source(FolderSettings(path=root, folder_items=8), said.append)
    assert len(await keys(source.list(prefix="many/"))) == 5
    for number in range(5, 8):
        (folder / f"{number}").touch()
    assert len(await keys(source.list())) == 68
    assert said == []
    (folder / "8").touch()
    assert len(await keys(source.list())) == 60
    assert "more than 8 names" in said[0]


async def test_folders_at_the_depth_limit_are_entered_and_one_deeper_is_reported(tmp_path, said):
    root = tmp_path / "deep"
    folder = root.joinpath(*["d"] * 64)
    (folder / "e").mkdir(parents=True)
    (folder / "in.png").touch()
    (folder / "e" / "out.png").touch()
    source = open_source(FolderSettings(path=root), said.append)
    assert [key[-6:] for key in await keys(source.list())] == ["in.png"]
    assert "deeper than 64" in said[0]


async def test_listing_does_not_hold_the_loop_up(source, monkeypatch):
    real = os.stat

    def slow(path, **named):
        time.sleep(0.01)
        return real(path, **named)

    monkeypatch.setattr("scanner.sources.files.os.stat", slow)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await keys(source.list())
    ticking.cancel()
    assert ticks > 20


async def test_no_descriptor_stays_open_however_a_listing_ends(source):
    before = descriptors()
    await keys(source.list())
    await collect(source.list(), 11)
    with pytest.raises(OverLimit):
        await source.read(await one(source, "0/0/0.png"), 0)
    assert descriptors() == before


async def test_a_file_is_read_as_it_was_listed_or_not_at_all(source, root):
    item = await one(source, "1/1/1.png")
    assert await source.read(item, 1) == b"1"
    with pytest.raises(OverLimit):
        await source.read(item, 0)
    (root / item.key).write_bytes(b"2")
    with pytest.raises(SourceChanged, match="has changed"):
        await source.read(item, 1)
    (root / item.key).unlink()
    with pytest.raises(SourceChanged, match="gone"):
        await source.read(item, 1)


async def test_a_file_that_changes_while_it_is_read_is_not_given(source, root, monkeypatch):
    item = await one(source, "1/1/1.png")
    real = os.fdopen

    def changed(*arguments, **named):
        (root / item.key).write_bytes(b"other")
        return real(*arguments, **named)

    monkeypatch.setattr("scanner.sources.files.os.fdopen", changed)
    with pytest.raises(SourceChanged, match="has changed"):
        await source.read(item, 100)


async def test_just_the_file_that_was_judged_is_deleted(source, root):
    item = await one(source, "1/1/1.png")
    await source.delete(item)
    assert not (root / item.key).exists()
    assert len(await keys(source.list())) == 59
    with pytest.raises(SourceChanged, match="gone"):
        await source.delete(item)


@pytest.mark.parametrize("change", ["content", "replaced", "touched", "link", "folder"])
async def test_what_is_no_longer_what_was_judged_is_not_deleted(source, root, tmp_path, change):
    item = await one(source, "1/1/1.png")
    path = root / item.key
    status = path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"1")
    os.utime(other, ns=(status.st_mtime_ns, status.st_mtime_ns))
    match change:
        case "content":
            path.write_bytes(b"22")
        case "replaced":
            other.rename(path)  # same size, same time, another file
        case "touched":
            os.utime(path, ns=(1, 1))
        case "link":
            path.unlink()
            path.symlink_to(other)
        case "folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(SourceChanged):
        await source.delete(item)
    assert path.exists()
    assert path.is_symlink() or path.is_dir() or path.read_bytes()


async def test_nothing_behind_a_link_is_deleted(source, root, tmp_path):
    item = await one(source, "1/1/1.png")
    (root / "1").rename(tmp_path / "moved")
    (root / "1").symlink_to(tmp_path / "moved")
    with pytest.raises(SourceError, match="link"):
        await source.delete(item)
    assert (tmp_path / "moved" / "1" / "1.png").exists()


@pytest.mark.parametrize("name", ["a\nb.png", " ", "-rf", "$(id)", "%2e%2e", "ü😀.png", "a\\b"])
async def test_odd_names_are_read_and_deleted_like_others(source, root, name):
    (root / name).write_bytes(b"odd")
    item = await one(source, name)
    assert await source.read(item, 3) == b"odd"
    await source.delete(item)
    assert not (root / name).exists()


@pytest.mark.parametrize("key", ["../pictures/1/1/1.png", "/etc/hostname", "1//1/1.png", "", "a\0"])
async def test_a_key_that_leads_elsewhere_is_neither_read_nor_deleted(source, key):
    item = await one(source, "1/1/1.png")
    forged = type(item)(key, item.size, item.mark)
    with pytest.raises(SourceError, match="no key"):
        await source.read(forged, 100)
    with pytest.raises(SourceError, match="no key"):
        await source.delete(forged)


LISTER = """
import asyncio, pathlib, sys
from scanner.sources.open import open_source
from scanner.sources.settings import FolderSettings

async def main(root, cursor):
    source = open_source(FolderSettings(path=pathlib.Path(root), page_items=3))
    async for item in source.list(cursor or None):
        print(item.cursor, flush=True)
        await asyncio.sleep(0.002)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_in_the_middle_a_listing_goes_on_from_the_last_cursor(source, root):
    whole = await keys(source.list())
    found: list[str] = []
    for stop in (13, 20, 60):
        cursor = found[-1] if found else ""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LISTER, str(root), cursor, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(stop):
            if not (line := await process.stdout.readline()):
                break
            found.append(line.decode().rstrip("\n"))
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
    assert found == whole


async def test_a_key_at_the_limit_is_listed_and_one_byte_more_is_reported(source, root, said):
    listed, left_out = deep(root, KEY_BYTES_MAX), deep(root, KEY_BYTES_MAX + 1)
    found = await keys(source.list())
    assert listed in found
    assert left_out not in found
    assert f"more than {KEY_BYTES_MAX} bytes" in said[0]
    assert len(said[0]) < 300
