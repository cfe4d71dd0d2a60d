"""The tables of a page that its rows refer to: labels, rules and pipelines."""

from typing import Final

from cache.rules import MAX_RULE_CHARACTERS, is_label
from federation.context import LABEL_PREFIX, RULE_PREFIX
from federation.errors import BadPage
from federation.wire.pipeline import Pipeline, parse_pipeline

MAX_LABELS: Final = 256
MAX_RULES: Final = 256
MAX_PIPELINES: Final = 64


def parse_labels(value: object) -> tuple[str, ...]:
    """Return the bare names of the labels that scores stand for, in their order."""
    if not isinstance(value, list) or len(value) > MAX_LABELS:
        raise BadPage(f"labels is not a list of at most {MAX_LABELS}")
    labels = tuple(_name(item, LABEL_PREFIX) for item in value)
    if len(set(labels)) != len(labels):
        raise BadPage("a label stands there twice")
    return labels


def parse_rules(value: object) -> dict[str, str]:
    """Return the issuer's rules: bare name -> expression, which is not read here."""
    if not isinstance(value, dict) or len(value) > MAX_RULES:
        raise BadPage(f"rules is not an object of at most {MAX_RULES}")
    for text in value.values():
        if not isinstance(text, str) or len(text) > MAX_RULE_CHARACTERS:
            raise BadPage(f"a rule is not a text of at most {MAX_RULE_CHARACTERS} characters")
    return {_name(name, RULE_PREFIX): text for name, text in value.items()}


def parse_pipelines(value: object) -> tuple[Pipeline, ...]:
    """Return the pipelines that rows refer to by index."""
    if not isinstance(value, list) or len(value) > MAX_PIPELINES:
        raise BadPage(f"pipelines is not a list of at most {MAX_PIPELINES}")
    return tuple(parse_pipeline(item) for item in value)


def _name(value: object, prefix: str) -> str:
    if not isinstance(value, str) or not value.startswith(prefix):
        raise BadPage(f"a name does not begin with {prefix}")
    name = value.removeprefix(prefix)
    if not is_label(name):
        raise BadPage(f"a name after {prefix} is not made of lower-case letters and hyphens")
    return name
