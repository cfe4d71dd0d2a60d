"""Writes the measured risk of each setting into docs/near-clean.md, from the JSON of the suite."""

import json
from pathlib import Path
from typing import Any

from benchmarks.fooling.suite import Table
from benchmarks.report import RESULTS

PAGE = Path(__file__).parents[2] / "docs/near-clean.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GROUPS = ("copy", "overlay", "sticker", "caption", "crop", "recoloured", "other frames", "crafted")
SHOWN = {
    "off, own": "`off`",
    "own, own": "`own`",
    "peers, peer's": "`peers`",
    "peers without sketches, as first designed": "peers without sketches, as first designed",
}


def write(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the tables in place of those that stand on the page."""
    text = page.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{section(results)}\n{END}{after}", "utf-8")


def section(results: Path = RESULTS) -> str:
    """Return what stands between the marks."""
    found = json.loads((results / "judgement_fooling.json").read_text("utf-8"))
    by_attack, totals, *_ = (table["rows"] for table in found["tables"])
    table = Table("", list(SHOWN.values()))
    for group in GROUPS:
        rows = [row for row in by_attack if row["name"].startswith(group)]
        name = "copies as servers make them" if group == "copy" else group
        table.rows[name] = [_share(rows, setting) for setting in SHOWN]
    rows = [row for row in by_attack if not row["name"].startswith(GROUPS)]
    hidden = [row for row in rows if not row["name"].startswith("appended")]
    table.rows["hidden: second pictures, other grounds, gamma, hybrids"] = [
        _share(hidden, setting) for setting in SHOWN
    ]
    sums = {row["name"]: row["% of attacked"] for row in totals}
    table.rows["**all attacks (wrong clean)**"] = [sums[setting] for setting in SHOWN]
    return "\n".join(table.text().strip().splitlines()[1:])


def _share(rows: list[dict[str, Any]], setting: str) -> float:
    """Return the mean share of several attacks, each counted by its files."""
    files = sum(row["files"] for row in rows)
    return float(sum(row["files"] * row[setting] for row in rows) / max(files, 1))
