"""A policy: which labels a model is asked for, with which prompts, and what to act on.

Labels, prompts, control prompts and template are part of the pipeline (`Policy.digest`);
thresholds, strictness and rules are not: another instance reads the same scores by its own.
Rules are carried as text; whoever decides parses them. Unknown keys are refused with the nearest
name.

A label has one `threshold`, the balanced one, or `thresholds` for all three positions of the
dial. From one, the others follow: strict asks for a third of its odds, lenient for three times
its odds. A constant step in odds is a constant step in the model's logit, so it never leaves
1..10000, and small and large thresholds move alike: 5000 -> 2500, 7500; 4000 -> 1818, 6667.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Self, get_args

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from scanner.classifiers.classifier import SCORE_MAX
from scanner.errors import PolicyError
from scanner.settings import Strictness

SHIPPED = Path(__file__).parent / "policies"
POLICY_BYTES_MAX = 1_000_000
WORDS_OF_RULES = frozenset({"and", "or", "not", "true", "false", "null"})
TEST = "test"
TEST_CARD = "test-card"
"""The rule that every installation's test card is flagged for: no policy may have one so called."""
STRICTNESSES: tuple[Strictness, ...] = get_args(Strictness)
ODDS_STEP = 3
"""How many times the odds of a threshold grow from strict to balanced, and on to lenient."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Threshold = Annotated[int, Field(ge=1, le=SCORE_MAX, strict=True)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]


class Strict(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(Strict):
    """The score from which a label holds (`>=`), at each position of the dial."""

    strict: Threshold
    balanced: Threshold
    lenient: Threshold

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.strict <= self.balanced <= self.lenient:
            raise ValueError("strict must be at most balanced, and balanced at most lenient")
        return self


class Label(Strict):
    """A thing a picture may be; its thresholds are given in one of two ways."""

    prompts: Texts
    threshold: Threshold | None = None
    """The balanced one; the others are derived."""
    thresholds: Thresholds | None = None
    """All three, as measured."""

    @model_validator(mode="after")
    def _given_once(self) -> Self:
        if (self.threshold is None) == (self.thresholds is None):
            raise ValueError("give either threshold, or thresholds for all three, not both")
        return self

    def at(self, strictness: Strictness) -> int:
        """Return the score, 1..10000, from which the label holds at this strictness."""
        if self.thresholds is not None:
            return int(getattr(self.thresholds, strictness))
        steps = {"strict": Fraction(1, ODDS_STEP), "balanced": Fraction(1)}
        return shifted(self.threshold or 0, steps.get(strictness, Fraction(ODDS_STEP)))


class Policy(Strict):
    """Labels with prompts and thresholds, control prompts, template and rules."""

    name: Name
    version: Annotated[int, Field(ge=1, strict=True)]
    template: Text
    """A sentence with one `{}`, where each prompt goes."""
    controls: Texts
    labels: Annotated[dict[Name, Label], Field(min_length=1, max_length=64)]
    rules: Annotated[dict[Name, Text], Field(min_length=1, max_length=64)]

    def digest(self) -> str:
        """Return the hex SHA-256 (RFC 8785) of what the scores depend on, and of nothing else."""
        labels = {name: list(label.prompts) for name, label in self.labels.items()}
        plain = rfc8785.dumps(
            {"controls": list(self.controls), "labels": labels, "template": self.template}
        )
        return hashlib.sha256(plain).hexdigest()

    def thresholds(self, strictness: Strictness = "balanced") -> dict[str, int]:
        """Return label -> the score from which it holds at this strictness."""
        return {name: label.at(strictness) for name, label in self.labels.items()}

    def sentences(self, prompts: Iterable[str]) -> list[str]:
        """Return the prompts as the text tower reads them, in the template."""
        return [self.template.replace("{}", prompt) for prompt in prompts]


def shifted(threshold: int, factor: Fraction) -> int:
    """Return the threshold with its odds multiplied by `factor`, within 1..10000, half to even."""
    odds = threshold * factor
    return min(max(round(SCORE_MAX * odds / (odds + SCORE_MAX - threshold)), 1), SCORE_MAX)


def needs_calibration(policy: Policy) -> bool:
    """Tell whether nothing may be deleted by this policy before `policy calibrate` has run.

    Only the shipped `test` policy needs none: it finds test patterns alone, and how often it is
    wrong was measured with its model (benchmarks/results/tiny_model.json). Nobody may measure any
    other on the material that it is for, and what a threshold does to harmless pictures hangs on
    the model and on the server's own pictures. All of it is compared: a name is no proof.
    """
    return policy != load_policy(TEST)


def load_policy(name_or_path: str | Path) -> Policy:
    """Return the shipped policy of that name, or the one at that path.

    Raises PolicyError, naming the file, the entry and how to mend it.
    """
    path = _path_of(name_or_path)
    try:
        with path.open("rb") as file:
            text = file.read(POLICY_BYTES_MAX + 1)
    except OSError as error:
        raise PolicyError(f"cannot read the policy {path}: {error.strerror}") from error
    if len(text) > POLICY_BYTES_MAX:
        raise PolicyError(f"the policy {path} is over {POLICY_BYTES_MAX} bytes")
    return parse_policy(text, str(path))


def parse_policy(text: bytes, where: str = "policy") -> Policy:
    """Return the policy of a TOML text; `where` names it in the message of a PolicyError."""
    try:
        policy = Policy.model_validate(tomllib.loads(text.decode()))
    except ValidationError as error:
        raise PolicyError(f"{where}: {_explain(_worst(error.errors()))}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOML error
        raise PolicyError(f"{where} is not TOML: {error}") from error
    _check(policy, where)
    return policy


def shipped_policies() -> list[str]:
    """Return the names of the policies that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _path_of(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_policies():
        return SHIPPED / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if not path.is_file():
        shipped = ", ".join(shipped_policies())
        raise PolicyError(f"there is no policy {name_or_path}: give a file, or one of {shipped}")
    return path


def _check(policy: Policy, where: str) -> None:
    if policy.template.count("{}") != 1:
        raise PolicyError(f"{where}: template must contain {{}} once, where the prompt goes")
    for name in (*policy.labels, *policy.rules):
        if name in WORDS_OF_RULES:
            raise PolicyError(f"{where}: {name} is a word of the rules, choose another name")
    if TEST_CARD in policy.rules:
        raise PolicyError(f"{where}: {TEST_CARD} is the rule of the test card, choose another name")


def _worst(errors: list[ErrorDetails]) -> ErrorDetails:
    """Return the error to name: an unknown key explains the missing one beside it."""
    return next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])


def _explain(error: ErrorDetails) -> str:
    """Return one sentence for a validation error, with the nearest right name if a key is wrong."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        models: dict[int, type[Strict]] = {1: Policy, 4: Thresholds}
        model = models.get(len(error["loc"]), Label)
        near = difflib.get_close_matches(str(error["loc"][-1]), model.model_fields, n=1, cutoff=0)
        return f"unknown key {place}; did you mean {near[0]}?"
    if error["type"] == "missing":
        return f"{place} is missing"
    if error["loc"][-1:] == ("[key]",):
        return f"{place} is no name: use lower-case words joined by -"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"
