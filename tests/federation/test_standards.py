"""FEDERATION.md says what the registry says, and the registry what the code does."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from federation import standards
from federation.origin import Url
from federation.signing.identity import Scheme
from federation.wire import activity, composing
from tests.federation.samples import BASE, feed_document, signed_page

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "FEDERATION.md").read_text(encoding="utf-8")
STANDARDS = (*standards.PROTOCOLS, *standards.FEPS)

asked = activity.Follow(Url(f"{BASE}/follows/1"), Url(f"{BASE}/actor"), f"{BASE}/feeds/clean")
BUILT = {  # what each function of `composing` makes, from little
    "build_follow": [composing.build_follow("1", "a", "b")],
    "build_answer": [
        composing.build_answer("1", asked, accepted=answer) for answer in (True, False)
    ],
    "build_undo": [composing.build_undo("1", asked)],
    "build_update": [composing.build_update("1", feed_document())],
    "build_delete": [composing.build_delete("a")],
    "build_flag": [composing.build_flag("1", "a", "b", [], "text")],
    "build_heads": [composing.build_heads("1", "a", [])],
    "build_create": [composing.build_create(signed_page())],
}


def section(title):
    """Return a section of FEDERATION.md, up to the next of its depth."""
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def rows(title):
    """Return the rows of the first table of a section, heads left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return lines[2:]


@pytest.mark.parametrize("standard", STANDARDS, ids=lambda standard: standard.name)
def test_every_standard_names_modules_that_are_there(standard):
    assert standard.where
    for path in standard.where:
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize(
    ("title", "listed"),
    [
        ("Supported federation protocols and standards", standards.PROTOCOLS),
        ("Supported FEPs", standards.FEPS),
    ],
)
def test_the_lists_of_standards_are_those_of_the_registry(title, listed):
    lines = [line for line in section(title).splitlines() if line.startswith("- ")]
    assert lines == [f"- [{one.name}: {one.title}]({one.url})" for one in listed]


def test_every_fep_that_the_code_speaks_of_is_in_the_registry():
    named = set()
    for path in (ROOT / "federation").rglob("*.py"):
        named |= set(re.findall(r"FEP-[0-9a-f]{4}\b", path.read_text(encoding="utf-8")))
    assert named <= {one.name for one in standards.FEPS}


def test_the_table_of_activities_is_that_of_the_registry():
    assert rows("Activities") == [
        f"| `{one.kind}` | {one.sent} | {one.received} |" for one in standards.ACTIVITIES
    ]


def test_every_kind_of_activity_that_is_sent_is_in_the_registry():
    builders = {
        name
        for name, made in inspect.getmembers(composing, inspect.isfunction)
        if name.startswith("build_")
    }
    assert builders == BUILT.keys()
    sent = {made["type"] for several in BUILT.values() for made in several}
    assert sent == {one.kind for one in standards.ACTIVITIES if one.sent}


def test_every_kind_of_activity_that_is_understood_is_in_the_registry():
    tree = ast.parse(inspect.getsource(activity._parse))
    cases = [node for node in ast.walk(tree) if isinstance(node, ast.MatchValue)]
    understood = {ast.literal_eval(case.value) for case in cases}
    assert understood == {one.kind for one in standards.ACTIVITIES if one.received}


def test_the_schemes_of_signatures_are_those_of_the_code():
    assert rows("HTTP signatures") == [
        f"| `{name}` | {text} |" for name, text in standards.SCHEMES.items()
    ]
    assert [scheme.value for scheme in Scheme] == list(standards.SCHEMES)
    assert set(standards.HTTP_SCHEMES) == {Scheme.CAVAGE.value, Scheme.RFC9421.value}


def test_every_well_known_address_is_served_and_described(ours):
    assert rows("Well-known addresses") == [
        f"| `{path}` | {text} |" for path, text in standards.WELL_KNOWN.items()
    ]
    served = {route.path for route in ours.federation.routes()}
    assert {path for path in served if "well-known" in path or "nodeinfo" in path} == set(
        standards.WELL_KNOWN
    )


def test_every_address_of_a_feed_is_described(ours):
    told = " ".join(rows("What a feed publishes")) + section("What a feed publishes")
    for route in ours.federation.routes():
        path = re.sub(r"\{[a-z]+\}", "<>", route.path.removeprefix("/feeds/{name}"))
        spelled = re.sub(r"<[a-z]+>(-<[a-z]+>)?", "<>", told)
        if route.path.startswith("/feeds/{name}/") and not path.endswith("/inbox"):
            assert f"`{path}`" in spelled, path


def test_the_sections_that_fep_67ff_asks_for_are_there():
    for title in (
        "Supported federation protocols and standards",
        "Supported FEPs",
        "Additional documentation",
    ):
        assert f"\n## {title}\n" in TEXT
