"""Lists and exported verdicts are read strictly: a line is a row, or a fault with its number."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.memory.lists import LIFE_DAYS, SECONDS_PER_DAY, Entry
from cache.verdict import Basis, Feed, Finding
from fediverdict.exchange.lines import FORMATS, LINE_CHARACTERS, BadLine, guess, read_rows
from fediverdict.exchange.rows import MAX_LABELS, MAX_SCORE, Judged

CODE = "a1" * 32
BITS = "10100001" * 32
PIPELINE = {
    "architecture": "ViT-B-32",
    "policy": "ab" * 32,
    "precision": "fp32",
    "preprocessing": "{}",
    "weights": "cd" * 32,
}
MODEL = {
    "basis": "model",
    "sha256": "01" * 32,
    "content": "02" * 32,
    "pdq": CODE,
    "pdq_quality": 90,
    "pipeline": PIPELINE,
    "scores": {"gore": 100, "drawing": None},
    "flags": [],
    "issued": 1_000,
    "expires": 2_000,
    "frames_seen": 1,
    "frames_total": 1,
}
HUMAN = {
    "basis": "human",
    "sha256": "01" * 32,
    "rule": "gory",
    "finding": "upheld",
    "issued": 1_000,
    "expires": 2_000,
}


def rows(text, kind):
    return list(read_rows(text.splitlines(keepends=True), kind))


@pytest.mark.parametrize(
    ("line", "quality"),
    [(CODE, 100), (f"{CODE},80", 80), (f"{CODE},0,some name, with commas.jpg", 0)],
)
def test_a_pdq_line_is_a_code_with_its_quality(line, quality):
    assert rows(line, "pdq") == [Entry(pdq=bytes.fromhex(CODE), pdq_quality=quality)]


def test_the_first_of_pieFeds_characters_is_the_highest_bit():  # noqa: N802
    as_json = json.dumps({"pdq_hash_binary": BITS, "quality": 71})
    assert rows(f"{BITS}\n{as_json}", "piefed") == [
        Entry(pdq=bytes.fromhex(CODE), pdq_quality=100),
        Entry(pdq=bytes.fromhex(CODE), pdq_quality=71),
    ]


def test_a_csv_file_names_its_columns():
    text = f"sha256,pdq,quality,rule\n{'03' * 32},,,gory\n,{CODE},60,\n"
    assert rows(text, "csv") == [
        Entry(sha256=b"\x03" * 32, rule="gory"),
        Entry(pdq=bytes.fromhex(CODE), pdq_quality=60),
    ]


def test_an_exported_verdict_comes_back_with_its_pipeline():
    [row] = rows(json.dumps(MODEL), "jsonl")
    assert isinstance(row, Judged)
    assert row.pipeline == PIPELINE
    assert row.verdict.feed is Feed.CLEAN
    assert row.verdict.scores == {"gore": 100, "drawing": None}


@pytest.mark.parametrize("change", [{"flags": ["gory"]}, {"frames_total": 2}])
def test_a_verdict_that_flags_or_saw_a_part_is_no_clean_row(change):
    [row] = rows(json.dumps(MODEL | change), "jsonl")
    assert row.verdict.feed is Feed.FLAGGED


def test_an_upheld_finding_is_a_row_and_a_dismissal_is_none():
    upheld, dismissed = rows(
        f"{json.dumps(HUMAN)}\n{json.dumps(HUMAN | {'finding': 'dismissed'})}", "jsonl"
    )
    assert (upheld.verdict.basis, upheld.verdict.finding) == (Basis.HUMAN, Finding.UPHELD)
    assert dismissed is None


def test_empty_lines_and_comments_say_nothing():
    assert len(rows(f"# a list\n\n{CODE}\n", "pdq")) == 1


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (CODE, "pdq"),
        (f"{CODE},100,x.jpg", "pdq"),
        (BITS, "piefed"),
        ("sha256,rule", "csv"),
        ("pdq", "csv"),
        (json.dumps(MODEL), "jsonl"),
    ],
)
def test_the_format_is_guessed_by_the_first_line(first, kind):
    assert guess(first) == kind


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (f"{CODE}\n{CODE[:-1]}", "pdq", "line 2: pdq is 64 hex digits"),
        (f"{CODE},101", "pdq", "line 1: a quality is an integer 0..100"),
        (f"{CODE},²", "pdq", "line 1: '²' is no quality"),
        (f"{BITS[:-1]}2", "piefed", "line 1: a binary hash is 256 characters"),
        ("{}", "jsonl", "line 1: it names no picture"),
        ("[]", "jsonl", "line 1: it is no JSON object"),
        ("{", "jsonl", "line 1: it is not JSON"),
        ("[" * 60_000, "jsonl", "line 1: "),
        (f"pdq\n{CODE}\nzz", "csv", "line 3: pdq is 64"),
        ("sha256,rule\nab", "csv", "row 2: it has not as many cells"),
        (json.dumps(MODEL | {"basis": "guess"}), "jsonl", "line 1: basis is model or human"),
        (json.dumps({**MODEL, "pipeline": {}}), "jsonl", "line 1: pipeline is an object of"),
        (json.dumps({**HUMAN, "rule": "Not A Rule"}), "jsonl", "cannot name a rule"),
        (json.dumps({"basis": "human"}), "jsonl", "line 1: finding is missing"),
    ],
)
def test_a_bad_line_is_named_by_its_number(text, kind, said):
    with pytest.raises(BadLine) as refused:
        rows(text, kind)
    assert said in str(refused.value)


def test_a_score_and_the_number_of_labels_have_their_limits():
    labels = {f"label{i}": MAX_SCORE for i in range(MAX_LABELS)}
    assert rows(json.dumps(MODEL | {"scores": labels}), "jsonl")
    for scores in ({**labels, "more": 1}, {"gore": MAX_SCORE + 1}):
        with pytest.raises(BadLine):
            rows(json.dumps(MODEL | {"scores": scores}), "jsonl")


def test_a_line_has_at_most_so_many_characters():
    name = "x" * (LINE_CHARACTERS - len(CODE) - len(",9,"))
    assert rows(f"{CODE},9,{name}", "pdq")
    with pytest.raises(BadLine, match="line 1: it has more than"):
        rows(f"{CODE},9,{name}x", "pdq")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.text(st.sampled_from(string.printable + "\0é\ud800"), max_size=300) | st.text(max_size=100),
)
def test_any_text_is_read_or_refused_in_one_sentence(kind, text):
    try:
        rows(text, kind)
    except BadLine as refused:
        assert str(refused)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([MODEL, HUMAN]), st.sampled_from(sorted(MODEL)), VALUES)
def test_any_value_in_any_place_is_read_or_refused_in_one_sentence(base, name, value):
    try:
        rows(json.dumps(base | {name: value}), "jsonl")
    except BadLine as refused:
        assert str(refused)


@pytest.mark.parametrize("expires", [{}, {"expires": None}])
def test_a_finding_without_an_end_stands_as_long_as_an_entry(expires):
    line = {name: value for name, value in HUMAN.items() if name != "expires"} | expires
    [row] = rows(json.dumps(line), "jsonl")
    assert row.verdict.expires == 1_000 + LIFE_DAYS * SECONDS_PER_DAY
