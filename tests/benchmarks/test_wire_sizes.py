"""What an attestation takes on the wire depends on no clock, so its goals are held here too."""

from benchmarks.wire.sizes import GOALS, size_rows


def test_full_pages_keep_their_goals():
    rows = list(size_rows())
    assert [row.verdict for row in rows if row.goal is not None] == ["met"] * len(GOALS)
    assert all(row.value > 64 for row in rows)  # two hashes cannot be compressed
