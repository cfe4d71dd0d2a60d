"""The hostile corpus: whatever the bytes, a picture comes out or one of two errors."""

import pytest

from scanner.decoding.decode import read
from scanner.decoding.picture import Picture
from scanner.errors import OverLimit, Undecodable
from scanner.limits import Limits
from tests.scanner.decoding.hostile import corpus, mutations, sound_files

LIMITS = Limits()


def outcome(data):
    try:
        return read(data, LIMITS, name="x.jpg")
    except (Undecodable, OverLimit) as error:
        return error


def test_every_sound_file_is_read():
    assert all(isinstance(outcome(data), Picture) for data in sound_files().values())


def test_each_crafted_file_is_read_or_refused():
    found = {name: outcome(data) for name, data in corpus()}
    assert len(found) > 300
    for name in ("empty", "zeros-1000", "start-0-noise", "start-12", "frames-claimed.png"):
        assert isinstance(found[name], Undecodable), name
    for name in ("bomb-50000x50000.png", "frames-30000.gif", "frames.png", "comments.jpg"):
        assert isinstance(found[name], OverLimit), name


def test_mutations_are_read_or_refused():
    kinds = [type(outcome(data)) for _, data in mutations(1, 400)]
    assert kinds.count(Picture) > 50
    assert kinds.count(Undecodable) > 50


@pytest.mark.slow
def test_ten_thousand_mutations_are_read_or_refused():
    for _, data in mutations(2, 10_000):
        outcome(data)


def test_mutations_are_the_same_for_a_seed():
    assert list(mutations(3, 20)) == list(mutations(3, 20))
    assert list(mutations(3, 20)) != list(mutations(4, 20))


def test_what_is_read_has_true_counts():
    for name, data in mutations(5, 200):
        found = outcome(data)
        if isinstance(found, Picture):
            assert 1 <= found.frames_seen <= found.frames_total, name
            assert len(found.frames) == len(found.frame_numbers) == len(found.plain), name
            assert found.frame_numbers[0] == found.frame_numbers[found.plain[0]], name
