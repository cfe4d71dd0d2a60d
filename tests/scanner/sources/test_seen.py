"""What a watch remembers: nothing twice, nothing that is new left out, within its limit."""

import pytest

from scanner.sources import seen as module
from scanner.sources.seen import Seen
from scanner.sources.source import Item


def items(count, mark="m"):
    return [Item(f"key{number}", number, mark) for number in range(count)]


@pytest.fixture(params=[4, 65_536])
def _fresh(request, monkeypatch):
    monkeypatch.setattr(module, "FRESH", request.param)


@pytest.mark.usefixtures("_fresh")
def test_an_item_is_new_once_and_again_when_its_mark_changes():
    seen = Seen(1_000)
    assert all(seen.is_new(item) for item in items(20))
    assert not any(seen.is_new(item) for item in items(20))
    seen.turn()
    assert not any(seen.is_new(item) for item in items(20))
    assert all(seen.is_new(item) for item in items(20, mark="other"))


@pytest.mark.usefixtures("_fresh")
def test_what_a_whole_listing_lacks_is_dropped_with_the_next():
    seen = Seen(1_000)
    first, second = items(2)
    assert (seen.is_new(first), seen.is_new(second)) == (True, True)
    seen.turn()
    assert not seen.is_new(first)
    seen.turn()
    assert not seen.is_new(first)
    assert seen.is_new(second)


def test_a_forgotten_item_is_new_once_more():
    seen = Seen(10)
    (item,) = items(1)
    seen.is_new(item)
    seen.forget(item)
    assert [seen.is_new(item), seen.is_new(item)] == [True, False]


def test_at_the_limit_all_are_remembered_and_one_past_it_is_given_again():
    seen = Seen(5)
    for item in items(6):
        seen.is_new(item)
    assert [seen.is_new(item) for item in items(6)] == [False] * 5 + [True]


def test_key_and_mark_do_not_run_into_each_other():
    seen = Seen(10)
    assert seen.is_new(Item("ab", 1, "c"))
    assert seen.is_new(Item("a", 1, "bc"))


def test_items_take_eight_bytes_each():
    seen = Seen(2_000_000)
    for number in range(300_000):
        seen.is_new(Item(str(number), 1, "m"))
    seen.turn()
    assert seen._before.nbytes == 300_000 * 8
