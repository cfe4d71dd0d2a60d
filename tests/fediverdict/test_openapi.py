"""The OpenAPI file is held against the routes and against real answers."""

import json
from pathlib import Path

from cache.verdict import Decision, MatchKind
from fediverdict.answers import answer_json
from fediverdict.api import Api
from fediverdict.judge import Answer
from scanner.formats.inside import Inside

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_every_route_is_documented_and_nothing_else(sqlite_store):
    routes = {(r.path, r.method.lower()) for r in Api.routes(object.__new__(Api))}
    documented = {(path, method) for path, found in DOCUMENT["paths"].items() for method in found}
    assert documented == routes


def test_the_answer_has_exactly_the_documented_fields():
    answer = answer_json(Answer(Decision.UNDECODABLE, "it is empty"), show_distance=True)
    assert set(answer) == set(SCHEMAS["Answer"]["properties"]) == set(SCHEMAS["Answer"]["required"])
    assert set(answer["match"]) == set(SCHEMAS["Answer"]["properties"]["match"]["properties"])


def test_the_documented_words_are_those_of_the_code():
    properties = SCHEMAS["Answer"]["properties"]
    assert set(properties["decision"]["enum"]) == {str(decision) for decision in Decision}
    assert set(properties["inside"]["items"]["enum"]) == {str(one) for one in Inside}
    assert set(properties["match"]["properties"]["kind"]["enum"]) == {str(k) for k in MatchKind}
