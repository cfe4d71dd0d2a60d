"""The page on near clean: its figures are those of the last run, and so is the warning's."""

import json

from benchmarks.fooling.docs import BEGIN, END, PAGE, section, write
from benchmarks.report import RESULTS
from fediverdict.near_clean import PEERS_RISK_PERCENT


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
    assert abs(totals()["peers, own"]["% of attacked"] - PEERS_RISK_PERCENT) <= 3


def test_at_the_default_setting_nothing_wrong_was_clean():
    for name in ("off, own", "off, peer's"):
        assert totals()[name]["wrong clean"] == 0
