"""The page on near clean: its figures are those of the last run, and so is the warning's."""

import json
import math

from benchmarks.fooling.attacks import UNSKETCHED
from benchmarks.fooling.docs import BEGIN, END, PAGE, section, write
from benchmarks.report import RESULTS
from fediverdict.config import Config
from fediverdict.near_clean import PEERS_RISK_PERCENT, warning


def totals():
    found = json.loads((RESULTS / "judgement_fooling.json").read_text("utf-8"))
    [table] = [one for one in found["tables"] if one["title"].startswith("Wrong clean by reuse")]
    return {row["name"]: row for row in table["rows"]}


def test_the_page_prints_what_was_measured(tmp_path):
    text = PAGE.read_text("utf-8")
    assert text.split(BEGIN)[1].split(END)[0].strip() == section().strip()
    copy = tmp_path / "page.md"
    copy.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    write(page=copy)
    assert copy.read_text("utf-8") == f"before\n{BEGIN}\n{section()}\n{END}\nafter\n"


def test_the_warning_names_the_measured_risk():
    worst = max(totals()[name]["% of attacked"] for name in ("peers, own", "peers, peer's"))
    assert math.ceil(worst) == PEERS_RISK_PERCENT
    text = warning(Config.model_validate({"decide": {"near_clean": "peers"}}))
    assert text is not None
    assert f" {PEERS_RISK_PERCENT} % " in text


def test_with_sketches_nothing_wrong_was_clean_and_without_them_much_was():
    without = totals().pop(UNSKETCHED)
    assert without["wrong clean"] > 0  # else the attacks would show nothing
    assert all(row["wrong clean"] == 0 for name, row in totals().items() if name != UNSKETCHED)
