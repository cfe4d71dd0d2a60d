"""Checks a policy as a whole: its rules are read, and what can hardly be meant is named.

A policy file that is wrong is refused where it is read (`scanner.policy`); here its rules are
parsed, with those that the config adds, and warnings tell of rules and labels without effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cache.errors import RuleError
from cache.rules import And, Label, Node, Not, Or, Rule, parse
from fediverdict.errors import UsageError
from scanner.policy import Policy

STEPS_MAX = 10_000
"""Evaluations of one rule, before whether it can be true is left open."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A policy with its rules parsed, and the warnings, one sentence each."""

    policy: Policy
    rules: Mapping[str, Rule]
    warnings: tuple[str, ...]


def check(policy: Policy, more: Mapping[str, str] | None = None) -> Checked:
    """Return the policy as checked, with the rules `more` added; raises UsageError."""
    texts = {**policy.rules, **(more or {})}
    rules = {name: _parsed(name, text, policy) for name, text in texts.items()}
    warnings = [warning for name, rule in rules.items() for warning in _of_rule(name, rule)]
    used = frozenset(label for rule in rules.values() for label in rule.labels)
    warnings += [
        f"no rule uses the label {label}: it is scored and never acted on"
        for label in policy.labels
        if label not in used
    ]
    return Checked(policy, rules, tuple(warnings))


def can_be(rule: Rule, wanted: bool) -> bool | None:
    """Tell whether some picture makes the rule true (or false); None where it takes too long."""
    steps = 0
    waiting: list[dict[str, bool]] = [{}]
    while waiting:
        if (steps := steps + 1) > STEPS_MAX:
            return None
        truths = waiting.pop()
        truth = rule.truth(truths.get)
        if truth is wanted:
            return True
        if truth is None:
            label = min(rule.labels - truths.keys())
            waiting += [{**truths, label: False}, {**truths, label: True}]
    return False


def _parsed(name: str, text: str, policy: Policy) -> Rule:
    try:
        rule = parse(text)
    except RuleError as error:
        raise UsageError(f"the rule {name} cannot be read: {error}") from error
    if strange := sorted(rule.labels - policy.labels.keys()):
        raise UsageError(f"the rule {name} names {strange[0]}, which the policy does not score")
    return rule


def _of_rule(name: str, rule: Rule) -> list[str]:
    found = []
    if can_be(rule, True) is False:
        found.append(f"the rule {name} can never be true: it flags nothing")
    elif can_be(rule, False) is False:
        found.append(f"the rule {name} is always true: it flags every picture")
    elif rule.truth(lambda _: False):
        found.append(f"the rule {name} is true where no label holds: it flags ordinary pictures")
    found += [
        f"the rule {name} asks for not {label}: strict then finds less of it, lenient more"
        for label in sorted(_negated(rule.node, negative=False))
    ]
    return found


def _negated(node: Node, *, negative: bool) -> set[str]:
    """Return the labels whose holding can make the rule false."""
    match node:
        case Label(label):
            return {label} if negative else set()
        case Not(part):
            return _negated(part, negative=not negative)
        case And(parts) | Or(parts):
            return set().union(*(_negated(part, negative=negative) for part in parts))
