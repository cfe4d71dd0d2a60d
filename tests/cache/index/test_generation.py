"""Files that are not as they were written are never believed."""

import json
import shutil

import numpy as np
import pytest

from cache.errors import IndexDamaged
from cache.index import generation as module
from cache.index.building import build
from cache.index.folder import IndexFolder
from cache.index.generation import (
    MANIFEST,
    Anchor,
    generations,
    open_generation,
    verify,
    write_generation,
)
from cache.index.segment import Budget, Segment
from cache.index.words import words_of
from tests.cache.index.codes import crowd, entries

CODES = crowd(2, 50)
ANCHORS = (Anchor(1, 7, "ab"),)
PARTS = ("pdq", "phash")


@pytest.fixture
def written(tmp_path):
    """A generation of two segments."""
    segments = {"pdq": build(entries(CODES)), "phash": build(entries(CODES[:5]))}
    return write_generation(tmp_path, "codes", 7, ANCHORS, segments)


def _open(path):
    opened = open_generation(path, "codes", PARTS)
    verify(opened)
    return opened


def test_what_was_written_is_opened_as_it_was(written):
    opened = _open(written)
    assert (opened.sequence, opened.anchors) == (7, ANCHORS)
    before, after = build(entries(CODES)), opened.segments["pdq"]
    for name in before.__slots__:
        kept, read = getattr(before, name), getattr(after, name)
        assert kept.dtype == read.dtype
        assert np.array_equal(kept, read)
        assert not read.flags.writeable
    assert len(after.search(words_of(CODES[:1]), 0, Budget(100)).places) == 1


def _flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("where", [0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_in_any_file_is_noticed(written, part, where):
    for path in sorted(written.glob(f"{part}.*.npy")):
        whole = path.read_bytes()
        _flip(path, int(where * len(whole)))
        with pytest.raises(IndexDamaged):
            _open(written)
        path.write_bytes(whole)
    _open(written)


def test_a_flipped_bit_anywhere_in_the_manifest_is_noticed(written):
    path = written / MANIFEST
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        _flip(path, at)
        with pytest.raises(IndexDamaged):
            _open(written)
        path.write_bytes(whole)
    _open(written)


@pytest.mark.parametrize("change", ["shorter", "longer", "empty", "missing", "folder", "swapped"])
def test_files_that_were_cut_off_or_exchanged_are_noticed_at_once(written, change):
    for path in sorted(written.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        match change:
            case "shorter":
                path.write_bytes(whole[:-1])
            case "longer":
                path.write_bytes(whole + b"\0")
            case "empty":
                path.write_bytes(b"")
            case "folder":
                path.mkdir()
            case "swapped":
                path.write_bytes(b"x" * len(whole))
        with pytest.raises(IndexDamaged):
            open_generation(written, "codes", PARTS)
        if path.is_dir():
            path.rmdir()
        path.write_bytes(whole)


def _rewrite(written, **changes):
    manifest = json.loads((written / MANIFEST).read_text())
    manifest.pop("digest")
    manifest |= changes
    manifest["digest"] = module._digest(manifest)
    (written / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": module.FORMAT + 1},
        {"format": module.FORMAT - 1},
        {"table": "prints"},
        {"byteorder": "middle"},
        {"count": {"pdq": 50}},
        {"count": {"pdq": 49, "phash": 5}},
        {"count": {"pdq": "50", "phash": 5}},
        {"sequence": "x"},
        {"anchors": [[1, 2]]},
        {"arrays": {}},
    ],
)
def test_generations_of_another_version_table_or_shape_are_not_used(written, changes):
    _rewrite(written, **changes)
    with pytest.raises(IndexDamaged):
        _open(written)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"digest": 1}']
)
def test_a_manifest_that_is_none_is_refused(written, text):
    (written / MANIFEST).write_bytes(text)
    with pytest.raises(IndexDamaged):
        _open(written)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_manifest_up_to_its_limit_is_read(written, monkeypatch, more, fits):
    size = (written / MANIFEST).stat().st_size
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", size - more)
    if fits:
        _open(written)
    else:
        with pytest.raises(IndexDamaged):
            _open(written)


def test_offsets_that_point_nowhere_are_noticed_at_once(tmp_path):
    """Before every byte was read: a wild slice could hide any code."""
    segment = build(entries(CODES))
    for offsets in (segment.offsets[::-1].copy(), segment.offsets + 1):
        broken = Segment(
            segment.codes,
            offsets,
            *(getattr(segment, name) for name in segment.__slots__[2:]),
        )
        path = write_generation(tmp_path, "codes", 1, (), {"pdq": broken})
        with pytest.raises(IndexDamaged):
            open_generation(path, "codes", ("pdq",))


def test_what_is_open_outlives_the_removal_of_its_files(written):
    opened = _open(written)
    shutil.rmtree(written)
    found = opened.segments["pdq"].search(words_of(CODES[:1]), 256, Budget(1 << 40))
    assert len(found.places) == len(opened.segments["pdq"].codes)


def test_the_newest_that_can_be_read_is_taken(tmp_path):
    folder = IndexFolder(tmp_path / "codes", "codes", ["pdq"])
    segments = {"pdq": build(entries(CODES))}
    with folder.locked() as is_ours:
        assert is_ours
        for sequence in (3, 12, 100):
            folder.write(sequence, (), segments)
    newest = generations(tmp_path / "codes")[0]
    found = folder.newest()
    assert found is not None
    assert found.sequence == 100
    assert folder.newest(after=100) is None
    _flip(newest / MANIFEST, 5)
    found = folder.newest()
    assert found is not None
    assert found.sequence == 12


def test_one_at_a_time_writes_and_what_is_old_or_unfinished_is_removed(tmp_path):
    path = tmp_path / "codes"
    one, other = (IndexFolder(path, "codes", ["pdq"]) for _ in range(2))
    segments = {"pdq": build(entries(CODES))}
    with one.locked() as is_ours:
        assert is_ours
        with other.locked() as is_theirs:
            assert not is_theirs
        (path / "tmp-left-by-a-killed-process").mkdir()
        one.write(1, (), segments)
        kept = one.write(2, (), segments)
        one.keep_only(kept)
    with other.locked() as is_theirs:
        assert is_theirs
    assert sorted(found.name for found in path.iterdir()) == [kept.path.name, "lock"]
    assert path.stat().st_mode & 0o777 == 0o700
    assert kept.path.stat().st_mode & 0o777 == 0o700
