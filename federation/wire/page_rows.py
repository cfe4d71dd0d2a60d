"""The rows of a page, from wire to types: which cells belong together.

An attestation on basis model has a pipeline and scores, one on basis human a finding; a
retraction has a target and nothing else. A row that mixes them costs the whole page.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

from cache.verdict import Basis, Feed, Finding
from federation.context import RULE_PREFIX
from federation.errors import BadPage
from federation.wire import columns
from federation.wire.epoch import is_epoch
from federation.wire.pipeline import Pipeline
from federation.wire.row import ATTEST, BASES, COLUMNS, RETRACT, Attestation, Retraction, Row
from federation.wire.strictjson import MAX_INTEGER, JsonObject

ISSUED_AFTER_PAGE_SECONDS: Final = 300
MAX_LIFETIME_SECONDS: Final = 366 * 86_400
_OF_MODEL: Final = ("sha256", "pipeline", "scores", "issued", "expires")


@dataclass(frozen=True, slots=True)
class Tables:
    """What the cells of a page refer to."""

    feed: Feed
    epoch: str
    published: int
    labels: Sequence[str]
    rules: Mapping[str, str]
    pipelines: Sequence[Pipeline]


def parse_rows(document: JsonObject, tables: Tables) -> tuple[Row, ...]:
    """Return the rows of a page in their order; raises `BadPage`."""
    names = COLUMNS[tables.feed]
    cells = columns.by_name(document.get("columns"), document.get("rows"), names)
    _check_columns(cells, tables)
    for name in ("sha256", "content", "pdq"):
        if name in cells:
            cells[name] = columns.hashes(cells[name])
    if _is_plain(cells):
        return tuple(_plain(cells, tables))
    return tuple(
        _row(dict(zip(names, values, strict=True)), tables)
        for values in zip(*cells.values(), strict=True)
    )


def _is_plain(cells: Mapping[str, columns.Cells]) -> bool:
    """Tell whether all rows attest by a model, with every cell that such rows have and no other.

    Nearly all pages are of this kind; any other is read row by row (`_row`), which also says what
    is wrong with it.
    """
    rows = len(cells["op"])
    return (
        set(cells["op"]) == {ATTEST}
        and cells["basis"].count("model") == rows
        and all(cells[name].count(None) == rows for name in ("finding", "target"))
        and not any(None in cells[name] for name in _OF_MODEL)
        and all(map(operator.lt, cells["issued"], cells["expires"]))
        and _come_together(cells.get("pdq"), cells.get("quality"))
    )


def _come_together(left: columns.Cells | None, right: columns.Cells | None) -> bool:
    if left is None or right is None:
        return left is right
    return all((one is None) == (other is None) for one, other in zip(left, right, strict=True))


def _plain(cells: Mapping[str, columns.Cells], tables: Tables) -> Iterator[Attestation]:
    """Read a page of nothing but `_by_model`, column by column."""
    ids = [pipeline.id for pipeline in tables.pipelines]
    absent = (None,) * len(cells["op"])
    return map(
        Attestation,
        cells["sha256"],
        repeat(Basis.MODEL),
        cells["issued"],
        _ending(cells["issued"], cells["expires"]),
        cells["content"],
        map(ids.__getitem__, cells["pipeline"]),
        map(dict, map(zip, repeat(tables.labels), cells["scores"])),
        absent,
        absent,
        cells.get("pdq", absent),
        cells.get("quality", absent),
    )


def _ending(issued: columns.Cells, expires: columns.Cells) -> columns.Cells:
    """Return when rows expire: as they say, but not later than a row may."""
    if max(map(operator.sub, expires, issued)) <= MAX_LIFETIME_SECONDS:
        return expires
    return [min(e, i + MAX_LIFETIME_SECONDS) for i, e in zip(issued, expires, strict=True)]


def _check_columns(cells: Mapping[str, columns.Cells], tables: Tables) -> None:
    if set(map(type, cells["op"])) != {int} or not set(cells["op"]) <= {ATTEST, RETRACT}:
        raise BadPage("op is neither 0 nor 1")
    columns.check_integers(cells["pipeline"], "pipeline", 0, len(tables.pipelines) - 1)
    columns.check_integers(
        cells["issued"], "issued", 0, tables.published + ISSUED_AFTER_PAGE_SECONDS
    )
    columns.check_integers(cells["expires"], "expires", 0, MAX_INTEGER)
    columns.check_scores(cells["scores"], len(tables.labels))
    if "quality" in cells:
        columns.check_integers(cells["quality"], "quality", 0, columns.MAX_QUALITY)


def _row(cell: dict[str, Any], tables: Tables) -> Row:
    if cell["op"] == RETRACT:
        return _retraction(cell, tables)
    if cell["sha256"] is None or cell["issued"] is None or cell["expires"] is None:
        raise BadPage("an attestation lacks sha256, issued or expires")
    if cell["target"] is not None or cell["expires"] <= cell["issued"]:
        raise BadPage("an attestation has a target, or expires before it was issued")
    if (cell.get("pdq") is None) != (cell.get("quality") is None):
        raise BadPage("pdq and quality do not come together")
    basis = BASES.get(cell["basis"]) if isinstance(cell["basis"], str) else None
    if basis is Basis.MODEL:
        return _by_model(cell, tables)
    if basis is Basis.HUMAN and tables.feed is Feed.FLAGGED:
        return _by_human(cell, tables)
    raise BadPage("basis is neither model nor, in a flagged feed, human")


def _by_model(cell: dict[str, Any], tables: Tables) -> Attestation:
    if cell["pipeline"] is None or cell["scores"] is None or cell["finding"] is not None:
        raise BadPage("a row of basis model has a pipeline and scores, and no finding")
    return Attestation(
        **_common(cell, Basis.MODEL),
        pipeline=tables.pipelines[cell["pipeline"]].id,
        scores=dict(zip(tables.labels, cell["scores"], strict=True)),
    )


def _by_human(cell: dict[str, Any], tables: Tables) -> Attestation:
    if cell["pipeline"] is not None or cell["scores"] is not None:
        raise BadPage("a row of basis human has no pipeline and no scores")
    finding = cell["finding"]
    if type(finding) is not list or len(finding) != 2 or finding[1] != Finding.UPHELD:
        raise BadPage("a finding is a rule and upheld")
    rule = finding[0].removeprefix(RULE_PREFIX) if isinstance(finding[0], str) else None
    if rule not in tables.rules or finding[0] == rule:
        raise BadPage("a finding names a rule that the page does not give")
    return Attestation(**_common(cell, Basis.HUMAN), rule=rule, finding=Finding.UPHELD)


def _common(cell: dict[str, Any], basis: Basis) -> dict[str, Any]:
    return {
        "sha256": cell["sha256"],
        "basis": basis,
        "issued": cell["issued"],
        "expires": min(cell["expires"], cell["issued"] + MAX_LIFETIME_SECONDS),
        "content": cell["content"],
        "pdq": cell.get("pdq"),
        "pdq_quality": cell.get("quality"),
    }


def _retraction(cell: dict[str, Any], tables: Tables) -> Retraction:
    if any(value is not None for name, value in cell.items() if name not in ("op", "target")):
        raise BadPage("a retraction has something else than a target")
    target = cell["target"]
    epoch, seq = target if type(target) is list and len(target) == 2 else (tables.epoch, target)
    if not is_epoch(epoch) or type(seq) is not int or seq < 1:
        raise BadPage("a target is neither a seq nor an epoch and a seq")
    return Retraction(epoch, seq)
