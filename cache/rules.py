"""Parses rules and tells their truth: booleans over labels, in three-valued (Kleene) logic.

    rule  = and { "or" and }        and   = not { "and" not }
    not   = "not" not | atom        atom  = label | "(" rule ")"
    label = lower-case letters, digits and single hyphens, e.g. test-pattern

Decides the syntax and its limits. What a score makes of a label is left to the caller, which
gives True, False, or None for "not known".
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cache.errors import RuleError

MAX_RULE_CHARACTERS = 2_000
MAX_RULE_LABELS = 200
MAX_RULE_DEPTH = 32
MAX_LABEL_CHARACTERS = 64

LABEL = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
WORDS = frozenset({"and", "or", "not"})
_TOKEN = re.compile(r"[()]|[^\s()]+")

Truth = bool | None
"""True, False, or None for undetermined."""


@dataclass(frozen=True, slots=True)
class Label:
    """A leaf: the truth of one label."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of its part."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """True when all parts are."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True when any part is."""

    parts: tuple["Node", ...]


Node = Label | Not | And | Or


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed rule: its text as written, its tree, and the labels it speaks of."""

    text: str
    node: Node
    labels: frozenset[str]

    def truth(self, of_label: Callable[[str], Truth]) -> Truth:
        """Return the rule's truth, given that of each label."""
        return _truth(self.node, of_label)


def is_label(name: str) -> bool:
    """Tell whether `name` can name a label or a rule."""
    return len(name) <= MAX_LABEL_CHARACTERS and name not in WORDS and bool(LABEL.fullmatch(name))


def parse(text: str) -> Rule:
    """Parse a rule; raises RuleError with a sentence for whoever wrote it."""
    if len(text) > MAX_RULE_CHARACTERS:
        raise RuleError(f"A rule has at most {MAX_RULE_CHARACTERS} characters.")
    parser = _Parser(text)
    node = parser.either(1)
    if parser.next is not None:
        raise RuleError(f"The rule {text!r} should end before {parser.next!r}.")
    return Rule(text, node, frozenset(parser.labels))


class _Parser:
    """Recursive descent over the tokens, no deeper than MAX_RULE_DEPTH."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = iter(_TOKEN.findall(text))
        self.next: str | None = next(self._tokens, None)
        self.labels: list[str] = []

    def either(self, depth: int) -> Node:
        parts = [self._both(depth)]
        while self._take("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self, depth: int) -> Node:
        parts = [self._contrary(depth)]
        while self._take("and"):
            parts.append(self._contrary(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _contrary(self, depth: int) -> Node:
        if depth > MAX_RULE_DEPTH:
            raise RuleError(f"A rule nests at most {MAX_RULE_DEPTH} deep.")
        if self._take("not"):
            return Not(self._contrary(depth + 1))
        return self._atom(depth)

    def _atom(self, depth: int) -> Node:
        if self._take("("):
            inner = self.either(depth + 1)
            if not self._take(")"):
                raise RuleError(f"A closing parenthesis is missing in the rule {self._text!r}.")
            return inner
        return self._label()

    def _label(self) -> Node:
        name = self.next
        if name is None or name in WORDS or name == ")":
            found = "its end" if name is None else repr(name)
            raise RuleError(f"The rule {self._text!r} has {found} where a label should stand.")
        if not is_label(name):
            raise RuleError(
                f"{name!r} is no label: lower-case letters, digits and single hyphens, "
                f"at most {MAX_LABEL_CHARACTERS} characters."
            )
        self.labels.append(name)
        if len(self.labels) > MAX_RULE_LABELS:
            raise RuleError(f"A rule names at most {MAX_RULE_LABELS} labels.")
        self._take(name)
        return Label(name)

    def _take(self, token: str) -> bool:
        if self.next != token:
            return False
        self.next = next(self._tokens, None)
        return True


def _truth(node: Node, of_label: Callable[[str], Truth]) -> Truth:
    match node:
        case Label(name):
            return of_label(name)
        case Not(part):
            inner = _truth(part, of_label)
            return None if inner is None else not inner
        case And(parts):
            return _weakest(_truth(part, of_label) for part in parts)
        case Or(parts):
            contrary = _weakest(_negated(_truth(part, of_label)) for part in parts)
            return _negated(contrary)


def _negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _weakest(truths: Iterable[Truth]) -> Truth:
    """Return False if any is False, else None if any is undetermined, else True."""
    seen = set(truths)
    if False in seen:
        return False
    return None if None in seen else True
