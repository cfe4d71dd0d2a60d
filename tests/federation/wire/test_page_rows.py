"""Rows are the same whether a page is read by columns (as nearly all are) or row by row."""

from hypothesis import given
from hypothesis import strategies as st

from cache.verdict import Feed
from federation.context import LABEL_PREFIX
from federation.errors import BadPage
from federation.wire.page_rows import Tables, parse_rows
from federation.wire.page_tables import parse_pipelines
from federation.wire.row import COLUMNS, Attestation
from tests.federation.samples import DESCRIPTION, EPOCH, NOW

HASH = "A" * 43
LABELS = ("minor", "sexual")
RETRACTION = {"op": 1, "target": 1}
cells = st.fixed_dictionaries(
    {
        "op": st.just(0),
        "sha256": st.sampled_from([HASH, "B" * 42 + "A", None]),
        "content": st.sampled_from([HASH, None]),
        "pipeline": st.sampled_from([0, None]),
        "basis": st.sampled_from(["model", "model", "model", "human", None, 3, ["model"]]),
        "finding": st.sampled_from([None, None, None, ["urn:x", "upheld"]]),
        "scores": st.sampled_from([[0, 10_000], [None, 5], None]),
        "issued": st.sampled_from([NOW, NOW - 400 * 86_400, None]),
        "expires": st.sampled_from([NOW + 1, NOW, None]),
        "target": st.sampled_from([None, None, None, 1]),
        "pdq": st.sampled_from([HASH, None]),
        "quality": st.sampled_from([50, None]),
    }
)
whole = {"op": 0, "sha256": HASH, "pipeline": 0, "basis": "model", "scores": [1, 2]}
whole |= {"issued": NOW, "expires": NOW + 9}


def read(rows, feed):
    columns = list(COLUMNS[feed])
    document = {"columns": columns, "rows": [[row.get(name) for name in columns] for row in rows]}
    pipelines = parse_pipelines([DESCRIPTION])
    try:
        return parse_rows(document, Tables(feed, EPOCH, NOW, LABELS, {}, pipelines))
    except BadPage:
        return None


@given(st.lists(cells, min_size=1, max_size=4), st.sampled_from([Feed.CLEAN, Feed.FLAGGED]))
def test_rows_read_by_columns_are_those_read_one_by_one(rows, feed):
    """A retraction at the end has the page read row by row; it changes nothing else."""
    by_rows = read([*rows, RETRACTION], feed)
    assert read(rows, feed) == (None if by_rows is None else by_rows[:-1])


def test_a_whole_row_is_read_by_columns():
    [row] = read([whole], Feed.CLEAN)
    assert isinstance(row, Attestation)
    assert row.scores == {"minor": 1, "sexual": 2}
    assert LABEL_PREFIX not in "".join(row.scores)
