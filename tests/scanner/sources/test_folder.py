"""The folder source: what is listed, what is not, and what is said of the rest."""

import os
from pathlib import Path

import pytest

from scanner.errors import OverLimit, SourceError
from scanner.sources.folder import list_folder, read_item


def keys(path, said=None):
    return [item.key for item in list_folder(path, (said if said is not None else []).append)]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    (root / "b" / "c").mkdir(parents=True)
    for name in ("z.png", "a.png", "b/2.png", "b/1.png", "b/c/0.png"):
        (root / name).write_bytes(name.encode())
    return root


def test_files_come_sorted_and_from_folders_within(folder):
    assert keys(folder) == ["a.png", "b/1.png", "b/2.png", "b/c/0.png", "z.png"]


def test_an_item_has_its_size_and_a_mark_that_changes_with_the_file(folder):
    before = next(iter(list_folder(folder)))
    assert before.size == 5
    os.utime(folder / "a.png", ns=(1, 1))
    after = next(iter(list_folder(folder)))
    assert before.mark != after.mark
    assert next(iter(list_folder(folder))).mark == after.mark


def test_links_lead_nowhere(folder, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "inside").symlink_to(folder / "b")
    assert keys(folder) == ["a.png", "b/1.png", "b/2.png", "b/c/0.png", "z.png"]
    for key in ("link.png", "outside/secret.png", "inside/1.png"):
        with pytest.raises(SourceError, match="link"):
            read_item(folder, key, 100)


def test_what_is_no_regular_file_is_left_out(folder):
    os.mkfifo(folder / "pipe.png")
    assert "pipe.png" not in keys(folder)
    with pytest.raises(SourceError, match="no regular file"):
        read_item(folder, "pipe.png", 100)
    with pytest.raises(SourceError, match="no regular file"):
        read_item(folder, "b", 100)


def test_a_folder_that_does_not_exist_is_told_before_the_first_item(tmp_path):
    with pytest.raises(SourceError, match="there is no folder"):
        list_folder(tmp_path / "none")


def test_a_file_is_not_a_folder(folder):
    with pytest.raises(SourceError, match="is not a folder"):
        list_folder(folder / "a.png")


@pytest.fixture
def forbidden(monkeypatch):
    """Tests may run as root, whom permissions do not stop: the system call says no instead."""
    real = os.open

    def refuse(path, *arguments, **named):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    monkeypatch.setattr("scanner.sources.files.os.open", refuse)


@pytest.mark.usefixtures("forbidden")
def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "locked").mkdir()
    with pytest.raises(SourceError, match="no permission to list"):
        list_folder(tmp_path / "locked")


@pytest.mark.usefixtures("forbidden")
def test_an_unreadable_folder_inside_is_reported_and_the_rest_goes_on(folder):
    (folder / "b" / "locked").mkdir()
    said: list[str] = []
    assert keys(folder, said) == ["a.png", "b/1.png", "b/2.png", "b/c/0.png", "z.png"]
    assert len(said) == 1
    assert "no permission" in said[0]


def test_a_name_that_is_no_text_is_reported(folder):
    os.close(os.open(os.fsencode(folder) + b"/\xff.png", os.O_CREAT | os.O_WRONLY))
    said: list[str] = []
    assert len(keys(folder, said)) == 5
    assert "rename" in said[0]


def test_bytes_at_the_limit_are_read_and_one_more_is_not(folder):
    assert read_item(folder, "a.png", 5) == b"a.png"
    with pytest.raises(OverLimit, match="4 bytes"):
        read_item(folder, "a.png", 4)


def test_a_file_that_went_away_is_an_error_of_the_source(folder):
    with pytest.raises(SourceError, match="cannot read"):
        read_item(folder, "gone.png", 100)


@pytest.mark.parametrize("key", ["../secret.png", "/etc/hostname", "b/../../secret.png"])
def test_a_key_does_not_lead_out_of_the_folder(folder, key):
    with pytest.raises(SourceError, match="no key"):
        read_item(folder, key, 100)


@pytest.mark.parametrize("key", ["", ".", "a\0b", "\udcff", "../x", "/etc/passwd"])
def test_what_is_no_key_is_refused_in_words(tmp_path, key):
    with pytest.raises(SourceError):
        read_item(tmp_path, key, 10)


def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(tmp_path, monkeypatch):
    """Whatever was checked before, the file is opened folder by folder without following."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.png").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "inner").symlink_to(tmp_path / "outside")
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    with pytest.raises(SourceError, match="link"):
        read_item(root, "inner/a.png", 10)
