"""docs/policy.md says what is so: its example, its table, its test card."""

import re
from pathlib import Path

from cache.testcard import CARD
from fediverdict.config import Config
from fediverdict.policy_check import check
from scanner.policy import STRICTNESSES, Label, parse_policy
from scanner.testcard import card_bytes

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()


def test_the_example_is_a_policy():
    [example] = re.findall(r'```toml\n(name = "mine".*?)```', TEXT, re.DOTALL)
    policy = parse_policy(example.encode())
    assert set(check(policy).rules) == {"gore-found"}


def test_the_table_of_derived_thresholds_is_true():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 3
    for row in rows:
        threshold, *written = map(int, row)
        label = Label(prompts=("x",), threshold=threshold)
        assert written == [label.at(strictness) for strictness in STRICTNESSES]


def test_the_defaults_and_the_card_are_named_as_they_are():
    scanner = Config().scanner
    assert f"`scanner.calibration_pictures` ({scanner.calibration_pictures})" in TEXT
    assert f"`{scanner.strictness}` (default)" in TEXT
    assert CARD.sha256.hex() in TEXT
    assert f"{len(card_bytes()):,} bytes" in TEXT
