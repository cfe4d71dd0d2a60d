"""Policy files: what is read, what is refused with which words, what the digest covers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.errors import PolicyError
from scanner.policy import (
    POLICY_BYTES_MAX,
    SHIPPED,
    STRICTNESSES,
    load_policy,
    needs_calibration,
    parse_policy,
    shifted,
    shipped_policies,
)

TEXT = """
name = "mine"
version = 1
template = "a photo of {}"
controls = ["a cat", "a dog"]

[labels.red]
prompts = ["something red"]
threshold = 5000

[rules]
red-found = "red"
"""


def changed(old, new):
    assert old in TEXT
    return parse_policy(TEXT.replace(old, new).encode())


def test_the_shipped_policies_are_read():
    assert shipped_policies() == ["default", "test"]
    assert set(load_policy("test").labels) == {"test-pattern", "shape"}
    assert load_policy("test").rules == {"test-pattern-found": "test-pattern"}
    assert set(load_policy("default").labels) == {"sexual", "minor", "gore"}
    assert load_policy("default").rules["csam-suspect"] == "sexual and minor"


def test_a_policy_is_read_from_a_path(tmp_path):
    (tmp_path / "mine.toml").write_text(TEXT)
    policy = load_policy(tmp_path / "mine.toml")
    assert policy.thresholds() == {"red": 5000}
    assert policy.sentences(["x"]) == ["a photo of x"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("threshold", "treshold", "unknown key labels.red.treshold; did you mean threshold?"),
        ("controls", "control", "unknown key control; did you mean controls?"),
        ("version = 1", "", "version is missing"),
        ("version = 1", "version = 0", "version"),
        ("5000", "10001", "labels.red.threshold"),
        ("5000", "0", "labels.red.threshold"),
        ("5000", "0.5", "labels.red.threshold"),
        ("labels.red", "labels.Red", "labels.Red is no name"),
        ("red-found", "red found", "TOML"),
        ("red-found", "and", "and is a word of the rules"),
        ("{}", "it", "template must contain {} once"),
        ("{}", "{} and {}", "template must contain {} once"),
        ('["something red"]', "[]", "labels.red.prompts"),
        ('["a cat", "a dog"]', "[]", "controls"),
        ("[labels.red]", "[labels.red", "TOML"),
    ],
)
def test_a_wrong_policy_is_refused_in_words(old, new, words):
    with pytest.raises(PolicyError) as caught:
        changed(old, new)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_that_is_not_there_names_the_shipped_ones(tmp_path):
    with pytest.raises(PolicyError, match="default, test"):
        load_policy(tmp_path / "none.toml")


def test_a_policy_file_has_a_size_limit(tmp_path):
    path = tmp_path / "large.toml"
    path.write_bytes(TEXT.encode() + b"#" * (POLICY_BYTES_MAX - len(TEXT.encode())))
    assert load_policy(path)
    path.write_bytes(path.read_bytes() + b"#")
    with pytest.raises(PolicyError, match="bytes"):
        load_policy(path)


DIGEST = parse_policy(TEXT.encode()).digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("something red", "something green"),
        ("a dog", "a horse"),
        ("a photo of {}", "{}"),
        ("labels.red", "labels.rot"),
    ],
)
def test_what_scores_depend_on_changes_the_digest(old, new):
    assert changed(old, new).digest() != DIGEST


@pytest.mark.parametrize(
    ("old", "new"),
    [("5000", "6000"), ('"red"', '"not red"'), ("mine", "yours"), ("version = 1", "version = 2")],
)
def test_thresholds_rules_name_and_version_leave_the_digest_as_it_is(old, new):
    assert changed(old, new).digest() == DIGEST


def test_the_digest_is_the_one_that_was_published():
    """A change here would make every verdict of the bundled policy foreign."""
    assert DIGEST == "2840da0b15f900418dbe685810f3f9ca73fe9680b41fa1e13eed6c4e69299fc7"


@pytest.mark.parametrize("text", [b"version = " + b"1" * 5000, b"a = " + b"[" * 5000, b"\xff"])
def test_what_the_parser_gives_up_on_is_refused_in_words(text):
    with pytest.raises(PolicyError, match="TOML"):
        parse_policy(text)


ALL_THREE = "thresholds = { strict = 2000, balanced = 5000, lenient = 9000 }"


def test_a_threshold_derives_the_other_two_by_a_third_of_its_odds_and_three_times_them():
    policy = parse_policy(TEXT.encode())
    assert policy.thresholds() == policy.thresholds("balanced") == {"red": 5000}
    assert policy.thresholds("strict") == {"red": 2500}
    assert policy.thresholds("lenient") == {"red": 7500}


@given(st.integers(1, 10_000))
def test_strict_asks_for_the_least_and_lenient_for_the_most(threshold):
    label = changed("5000", str(threshold)).labels["red"]
    assert 1 <= label.at("strict") <= label.at("balanced") <= label.at("lenient") <= 10_000
    assert label.at("balanced") == threshold


def test_a_threshold_is_shifted_in_its_odds_rounded_half_to_even_and_never_past_the_ends():
    assert shifted(4000, Fraction(3)) == 6667
    assert shifted(4000, Fraction(1, 3)) == 1818
    assert shifted(1, Fraction(1, 81)) == 1
    assert shifted(10_000, Fraction(1, 3)) == shifted(10_000, Fraction(3)) == 10_000


def test_all_three_thresholds_can_be_given_as_measured():
    policy = changed("threshold = 5000", ALL_THREE)
    assert [policy.thresholds(s)["red"] for s in STRICTNESSES] == [2000, 5000, 9000]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("", "labels.red: give either threshold, or thresholds for all three"),
        (f"threshold = 5000\n{ALL_THREE}", "give either threshold"),
        (ALL_THREE.replace("2000", "5001"), "strict must be at most balanced"),
        (ALL_THREE.replace("9000", "4999"), "balanced at most lenient"),
        (ALL_THREE.replace("strict", "strikt"), "did you mean strict?"),
        (ALL_THREE.replace("strict = 2000, ", ""), "labels.red.thresholds.strict is missing"),
        (ALL_THREE.replace("9000", "10001"), "labels.red.thresholds.lenient"),
    ],
)
def test_wrong_thresholds_are_refused_in_words(new, words):
    with pytest.raises(PolicyError) as caught:
        changed("threshold = 5000", new)
    assert words in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_neither_strictness_nor_the_way_thresholds_are_given_is_part_of_the_digest():
    assert changed("threshold = 5000", ALL_THREE).digest() == DIGEST


def test_the_digests_of_the_shipped_policies_are_those_that_were_published():
    test, default = load_policy("test").digest(), load_policy("default").digest()
    assert test == "64da21300b43c47184e12d69048498a8e67c4be46f61f5ee696a87a30fa51893"
    assert default == "9a1ea0dd6e108d493b431461f8ecfe94fdfc923901b8c35ca1565a3cb174eac6"


def test_every_policy_but_the_shipped_test_one_needs_calibration(tmp_path):
    assert not needs_calibration(load_policy("test"))
    assert needs_calibration(load_policy("default"))
    assert needs_calibration(parse_policy(TEXT.encode()))
    shipped = (SHIPPED / "test.toml").read_text()
    assert not needs_calibration(parse_policy(shipped.encode()))
    for old, new in (("= 5000", "= 1"), ('= "test-pattern"', '= "shape"'), ("fine", "coarse")):
        assert old in shipped
        assert needs_calibration(parse_policy(shipped.replace(old, new, 1).encode()))


def test_the_rule_of_the_test_card_is_nobodys():
    with pytest.raises(PolicyError, match="test-card is the rule of the test card"):
        changed("red-found", "test-card")
