"""The tables and rows of several pages as those of one document.

Labels and rules are joined, pipelines in the order in which they are first named; rows keep their
order and refer to the joined tables. A label that a page does not have is null there: not scored.
"""

from collections.abc import Sequence
from typing import Any, Final

from federation.wire.strictjson import JsonObject

TABLES: Final = ("labels", "rules", "pipelines")
"""The members of a page that its rows refer to."""


def join_tables(pages: Sequence[JsonObject]) -> JsonObject:
    """Return `count`, `labels`, `rules`, `pipelines`, `columns` and `rows` of pages of one feed.

    The pages are our own, as they were sealed: they have the same columns, and no rule of them has
    two expressions (`join_rules`).
    """
    labels = sorted({label for page in pages for label in page["labels"]})
    pipelines = _distinct([one for page in pages for one in page["pipelines"]])
    return {
        "count": sum(page["count"] for page in pages),
        "labels": labels,
        "rules": join_rules(pages),
        "pipelines": pipelines,
        "columns": pages[0]["columns"],
        "rows": [row for page in pages for row in _rows(page, labels, pipelines)],
    }


def join_rules(pages: Sequence[JsonObject]) -> dict[str, str]:
    """Return the rules of pages by name; raises `ValueError` where one has two expressions."""
    joined: dict[str, str] = {}
    for page in pages:
        for name, text in page["rules"].items():
            if joined.setdefault(name, text) != text:
                raise ValueError(f"the rule {name} has two expressions")
    return dict(sorted(joined.items()))


def _distinct(items: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [item for place, item in enumerate(items) if item not in items[:place]]


def _rows(page: JsonObject, labels: list[str], pipelines: list[dict[str, str]]) -> list[list[Any]]:
    """Return the rows of a page with scores and pipelines as the joined tables have them."""
    moved = [pipelines.index(one) for one in page["pipelines"]]
    if moved == list(range(len(moved))) and page["labels"] == labels:
        return list(page["rows"])
    pipeline, scores = page["columns"].index("pipeline"), page["columns"].index("scores")
    places = [page["labels"].index(one) if one in page["labels"] else None for one in labels]
    return [_moved(row, pipeline, scores, moved, places) for row in page["rows"]]


def _moved(
    row: list[Any], pipeline: int, scores: int, moved: list[int], places: list[int | None]
) -> list[Any]:
    row = list(row)
    if row[pipeline] is not None:
        row[pipeline] = moved[row[pipeline]]
    if row[scores] is not None:
        row[scores] = [None if at is None else row[scores][at] for at in places]
    return row
