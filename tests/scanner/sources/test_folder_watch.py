"""Watching a folder: what is complete is given once, whatever happened meanwhile."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from scanner.errors import SourceError
from scanner.sources.inotify import FolderEvents
from scanner.sources.open import open_source
from scanner.sources.settings import FolderSettings
from tests.scanner.sources.helpers import Watching, descriptors


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "old.png").write_bytes(b"old")
    return root


@pytest.fixture
def said():
    return []


@pytest.fixture
async def watched(root, said):
    """Return a function that starts a watch and takes what is there."""
    watches = []

    async def start(prefix="", **limits):
        limits = {"settle_seconds": 0.2, **limits}
        source = open_source(FolderSettings(path=root, **limits), said.append)
        watches.append(Watching(source.watch(prefix=prefix), source))
        return watches[-1]

    yield start
    for watch in watches:
        await watch.stop()


async def test_what_is_there_comes_first_then_what_appears(watched, root):
    watch = await watched()
    assert (await watch.next()).key == "old.png"
    (root / "new.png").write_bytes(b"new")
    item = await watch.next()
    assert item.key == "new.png"
    assert await watch.source.read(item, 10) == b"new"


async def test_a_file_is_given_when_its_writer_is_done(watched, root):
    watch = await watched(settle_seconds=60)
    await watch.next()
    waiting = asyncio.create_task(watch.next())
    with (root / "slow.png").open("wb") as file:
        for _ in range(5):
            file.write(b"part")
            file.flush()
            await asyncio.sleep(0.05)
        assert not waiting.done()
    item = await waiting
    assert (item.key, item.size) == ("slow.png", 20)


async def test_a_file_moved_into_place_is_given(watched, root, tmp_path):
    (tmp_path / "part").write_bytes(b"whole")
    watch = await watched()
    await watch.next()
    (tmp_path / "part").rename(root / "moved.png")
    assert (await watch.next()).key == "moved.png"


async def test_a_hard_link_is_given_once_it_stands_still(watched, root, tmp_path):
    (tmp_path / "other").write_bytes(b"linked")
    watch = await watched()
    await watch.next()
    os.link(tmp_path / "other", root / "hard.png")
    assert (await watch.next()).key == "hard.png"


async def test_a_changed_file_is_given_again_and_a_touched_one_with_its_mark_is_not(watched, root):
    watch = await watched()
    await watch.next()
    with (root / "old.png").open("ab"):
        pass  # closed after writing nothing
    (root / "end.png").write_bytes(b"end")
    assert (await watch.next()).key == "end.png"
    (root / "old.png").write_bytes(b"changed")
    assert (await watch.next()).key == "old.png"


async def test_new_folders_are_watched_and_what_lay_in_them_is_given(watched, root, tmp_path):
    deep = tmp_path / "tree" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "1.png").write_bytes(b"1")
    watch = await watched()
    await watch.next()
    (tmp_path / "tree").rename(root / "tree")
    assert (await watch.next()).key == "tree/a/b/1.png"
    (root / "tree" / "a" / "b" / "2.png").write_bytes(b"2")
    assert (await watch.next()).key == "tree/a/b/2.png"
    (root / "x" / "y").mkdir(parents=True)
    (root / "x" / "y" / "3.png").write_bytes(b"3")
    assert (await watch.next()).key == "x/y/3.png"


async def test_a_renamed_folder_is_followed_under_its_new_name(watched, root):
    (root / "a").mkdir()
    watch = await watched()
    await watch.next()
    (root / "a").rename(root / "b")
    (root / "first.png").write_bytes(b"1")
    assert (await watch.next()).key == "first.png"
    (root / "b" / "second.png").write_bytes(b"2")
    assert (await watch.next()).key == "b/second.png"


async def test_links_are_not_followed(watched, root, tmp_path):
    (tmp_path / "outside").mkdir()
    (root / "linked").symlink_to(tmp_path / "outside")
    watch = await watched()
    await watch.next()
    (tmp_path / "outside" / "secret.png").write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "later").symlink_to(tmp_path / "outside")
    await asyncio.sleep(0.5)
    (root / "end.png").write_bytes(b"end")
    assert (await watch.next()).key == "end.png"


async def test_a_name_that_is_no_text_does_not_end_the_watch(watched, root):
    watch = await watched()
    await watch.next()
    (root / os.fsdecode(b"\xff.png")).write_bytes(b"odd")
    (root / "a\nb.png").write_bytes(b"odd")
    assert (await watch.next()).key == "a\nb.png"


async def test_a_prefix_keeps_the_rest_out(watched, root):
    (root / "in").mkdir()
    watch = await watched(prefix="in/")
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0.3)
    (root / "out.png").write_bytes(b"out")
    (root / "in" / "a.png").write_bytes(b"in")
    assert (await waiting).key == "in/a.png"


async def test_more_than_can_be_held_leads_to_a_full_listing(watched, root):
    watch = await watched(pending_items=10)
    await watch.next()
    names = {f"{number}.png" for number in range(200)}
    for name in names:
        (root / name).write_bytes(b"x")
    assert {(await watch.next()).key for _ in names} == names


async def test_events_that_the_kernel_dropped_lead_to_a_full_listing(watched, root, monkeypatch):
    lost = []
    real = FolderEvents._lose

    def lose(events):
        lost.append(events)
        real(events)

    monkeypatch.setattr(FolderEvents, "_lose", lose)
    watch = await watched()
    await watch.next()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit + 100):  # closed after opening for writing: an event each
        os.close(os.open(root / f"burst{number % 50}.png", os.O_CREAT | os.O_WRONLY))
    (root / "last.png").write_bytes(b"last")
    found = set()
    while "last.png" not in found:
        found.add((await watch.next()).key)
    assert found == {"last.png"} | {f"burst{number}.png" for number in range(50)}
    assert lost


async def test_past_the_limit_of_watched_folders_the_folder_is_listed_often(watched, root, said):
    for name in "abc":
        (root / name).mkdir()
    watch = await watched(watch_folders=2, poll_seconds=0.2)
    await watch.next()
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0.3)
    (root / "c" / "late.png").write_bytes(b"late")
    assert (await waiting).key == "c/late.png"
    assert len(said) == 1
    assert "watch_folders" in said[0]


async def test_at_the_limit_of_watched_folders_all_are_watched(watched, root, said):
    for name in "ab":
        (root / name).mkdir()
    watch = await watched(watch_folders=3, poll_seconds=0.2)
    await watch.next()
    (root / "b" / "late.png").write_bytes(b"late")
    assert (await watch.next()).key == "b/late.png"
    assert said == []


async def test_an_item_that_could_not_be_judged_comes_again_with_the_next_listing(watched):
    watch = await watched(relist_seconds=0.2)
    item = await watch.next()
    watch.source.forget(item)
    assert (await watch.next()).key == "old.png"


async def test_a_folder_that_goes_away_and_comes_back_is_watched_again(watched, root, said):
    watch = await watched(poll_seconds=0.2)
    await watch.next()
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    root.rename(root.with_name("away"))
    end = time.monotonic() + 10
    while not said and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert "there is no folder" in said[0]
    root.mkdir()
    (root / "back.png").write_bytes(b"back")
    assert (await waiting).key == "back.png"


async def test_a_folder_that_is_not_there_is_told_at_once(tmp_path):
    source = open_source(FolderSettings(path=tmp_path / "none"))
    watch = Watching(source.watch())
    with pytest.raises(SourceError, match="there is no folder"):
        await watch.next()


async def test_new_files_do_not_wait_for_a_backlog(watched, root):
    for number in range(2_000):
        (root / f"p{number:04}.png").write_bytes(b"x")
    watch = await watched()
    await watch.next()
    (root / "zz-new.png").write_bytes(b"new")
    found = [(await watch.next()).key for _ in range(400)]
    assert "zz-new.png" in found


async def test_a_stopped_watch_leaves_no_descriptor(watched, root):
    before = descriptors()
    watch = await watched()
    await watch.next()
    await watch.stop()
    assert descriptors() <= before


async def test_without_room_for_another_watch_the_folder_is_listed_often(
    watched, root, said, monkeypatch
):
    def full(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("scanner.sources.inotify.Inotify", full)
    (root / "link").symlink_to(root)
    watch = await watched(poll_seconds=0.1)
    await watch.next()
    assert "Too many open files" in said[0]
    (root / "new.png").write_bytes(b"new")
    assert (await watch.next()).key == "new.png"
    assert await watch.nothing()
    assert len([text for text in said if "is a link" in text]) == 1


async def test_a_folder_that_goes_away_with_news_in_it_ends_nothing(watched, root, said):
    watch = await watched(poll_seconds=0.2)
    await watch.next()
    (root / "new").mkdir()
    (root / "new.png").write_bytes(b"new")
    os.link(root / "new.png", root / "hard.png")
    root.rename(root.with_name("away"))
    assert await watch.nothing()
    assert "there is no folder" in said[0]


async def test_a_stopped_wait_does_not_end_the_process_or_lose_what_comes(watched, root):
    """Ctrl-C cancels whoever waits; a new watch gives what the first did not."""
    watch = await watched()
    await watch.next()
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting})
    (root / "new.png").write_bytes(b"new")
    again = await watched()
    assert {(await again.next()).key, (await again.next()).key} == {"old.png", "new.png"}
