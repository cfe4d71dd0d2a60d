"""Policy files: what is read, what is refused with which words, what the digest covers."""

import pytest

from scanner.errors import PolicyError
from scanner.policy import POLICY_BYTES_MAX, load_policy, parse_policy, shipped_policies

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
