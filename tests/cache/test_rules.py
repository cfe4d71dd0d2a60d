"""Rules: the syntax, its limits, and Kleene's logic against a model by brute force."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import rules
from cache.errors import RuleError
from cache.rules import parse

LABELS = ("a", "b", "test-pattern")


def _trees():
    """Expressions as (text, Python function over {label: truth}) pairs."""
    leaf = st.sampled_from(LABELS).map(lambda name: (name, lambda values: values[name]))
    return st.recursive(leaf, _larger, max_leaves=12)


def _larger(inner):
    negated = inner.map(lambda e: (f"not ({e[0]})", lambda values: not e[1](values)))
    both = st.tuples(inner, inner).map(
        lambda p: (f"({p[0][0]}) and ({p[1][0]})", lambda v: p[0][1](v) and p[1][1](v))
    )
    either = st.tuples(inner, inner).map(
        lambda p: (f"(({p[0][0]}) or ({p[1][0]}))", lambda v: p[0][1](v) or p[1][1](v))
    )
    return negated | both | either


TRUTHS = st.fixed_dictionaries({label: st.sampled_from([True, False, None]) for label in LABELS})


@given(tree=_trees(), truths=TRUTHS)
def test_what_is_determined_holds_for_every_way_of_filling_in_the_unknown(tree, truths):
    """Kleene's logic is sound: it says True or False only where all completions agree."""
    text, model = tree
    found = parse(text).truth(truths.__getitem__)
    unknown = [label for label in LABELS if truths[label] is None]
    completions = [
        model(truths | dict(zip(unknown, filled, strict=True)))
        for filled in itertools.product([True, False], repeat=len(unknown))
    ]
    if not unknown:
        assert found is completions[0]
    if found is not None:
        assert set(completions) == {found}


def _kleene(name, left, right):
    if name == "and":
        return min(left, right)
    return max(left, right)


@pytest.mark.parametrize("operator", ["and", "or"])
def test_and_is_the_minimum_and_or_the_maximum_of_false_null_true(operator):
    """Kleene's tables, with False = 0, null = 1, True = 2."""
    order = [False, None, True]
    for left, right in itertools.product(range(3), repeat=2):
        truths = {"a": order[left], "b": order[right]}
        assert parse(f"a {operator} b").truth(truths.get) is order[_kleene(operator, left, right)]


def test_not_of_null_is_null():
    assert parse("not a").truth({"a": None}.get) is None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a or b and c", "a or (b and c)"),
        ("not a and b", "(not a) and b"),
        ("not not a", "a"),
        ("(a)", "a"),
        (" a\tand\nb ", "a and b"),
        ("a and b and c", "a and (b and c)"),
        ("(a or b)and(c)", "(a or b) and c"),
    ],
)
def test_not_binds_tighter_than_and_and_and_than_or(text, same):
    for values in itertools.product([True, False, None], repeat=3):
        truths = dict(zip("abc", values, strict=True))
        assert parse(text).truth(truths.get) is parse(same).truth(truths.get)


def test_a_rule_knows_its_labels():
    assert parse("test-pattern and not (shape or shape)").labels == {"test-pattern", "shape"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "its end"),
        ("a and", "its end"),
        ("and a", "where a label should stand"),
        ("a b", "should end before 'b'"),
        ("(a", "closing parenthesis"),
        ("a)", "should end before"),
        ("()", "where a label should stand"),
        ("not", "its end"),
        ("A", "is no label"),
        ("a-", "is no label"),
        ("-a", "is no label"),
        ("a--b", "is no label"),
        ("a_b", "is no label"),
        ("a AND b", "should end before"),
        ("a && b", "should end before"),
        ("sexuäl", "is no label"),
        ("__import__('os')", "is no label"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_place_named(text, says):
    with pytest.raises(RuleError, match=says):
        parse(text)


@given(st.text(max_size=40) | st.text(alphabet="ab()- andort", max_size=40))
def test_any_text_is_a_rule_or_a_rule_error(text):
    try:
        rule = parse(text)
    except RuleError:
        return
    assert rule.labels


def test_length_labels_and_depth_are_bounded_at_the_limit_and_past_it():
    label = "a" * rules.MAX_LABEL_CHARACTERS
    assert parse(label).labels == {label}
    with pytest.raises(RuleError, match="characters"):
        parse(label + "a")

    many = " or ".join(["a"] * rules.MAX_RULE_LABELS)
    assert parse(many)
    with pytest.raises(RuleError, match="at most 200 labels"):
        parse(many + " or a")

    deep = rules.MAX_RULE_DEPTH - 1
    assert parse("(" * deep + "a" + ")" * deep)
    assert parse("not " * deep + "a")
    with pytest.raises(RuleError, match="deep"):
        parse("(" * (deep + 1) + "a" + ")" * (deep + 1))
    with pytest.raises(RuleError, match="deep"):
        parse("not " * (deep + 1) + "a")

    long = "a" + " " * (rules.MAX_RULE_CHARACTERS - 1)
    assert parse(long)
    with pytest.raises(RuleError, match="characters"):
        parse(long + " ")
