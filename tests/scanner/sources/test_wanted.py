"""Which keys a listing still owes: compared with sorting and filtering them all."""

from hypothesis import given
from hypothesis import strategies as st

from scanner.sources.wanted import Wanted, is_key

name = st.text("ab.-é", min_size=1, max_size=2).filter(lambda text: text not in {".", ".."})
trees = st.sets(st.lists(name, min_size=1, max_size=4).map("/".join), max_size=30)


def walked(tree, wanted, folder=""):
    """List a tree of keys as the sources do: sorted names, one folder at a time."""
    here = [key.removeprefix(folder) for key in tree if key.startswith(folder)]
    for one in sorted({key.partition("/")[0] for key in here}):
        key = f"{folder}{one}"
        if any(other.startswith(f"{key}/") for other in tree):
            if wanted.folder(key):
                yield from walked(tree, wanted, f"{key}/")
        elif wanted.file(key):
            yield key


def pruned(tree):
    """Drop files that stand where another key needs a folder."""
    return {key for key in tree if not any(other.startswith(f"{key}/") for other in tree)}


@given(trees, st.data())
def test_a_cursor_and_a_prefix_leave_just_what_is_owed(tree, data):
    tree = pruned(tree)
    whole = list(walked(tree, Wanted()))
    assert sorted(whole) == sorted(tree)
    cursor = data.draw(st.sampled_from([None, *whole, "a", "a/b", "zz"]))
    prefix = data.draw(st.sampled_from(["", "a", "a/", "b/a", *whole]))
    owed = [key for key in whole if key.startswith(prefix)]
    if cursor is not None:
        owed = [key for key in owed if key.split("/") > cursor.split("/")]
    wanted = Wanted(cursor, prefix)
    start = "".join(f"{part}/" for part in wanted.start)
    assert list(walked(tree, wanted, start)) == owed


def test_keys_lead_nowhere_else():
    assert is_key("a/b.png")
    assert is_key("a\nb")
    for key in ("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0"):
        assert not is_key(key), key
