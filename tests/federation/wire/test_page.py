import contextlib
import copy
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.verdict import Basis, Feed, Finding
from federation.context import PAGE_CONTEXT
from federation.errors import BadPage, BadProof, BadRequest, FederationError, WrongOrigin
from federation.wire import page as pages
from federation.wire import proof
from federation.wire.page import EpochEnd, build_page, digest, verify_page
from federation.wire.page_rows import MAX_LIFETIME_SECONDS
from federation.wire.row import CLEAN_COLUMNS, Attestation, Retraction
from federation.wire.strictjson import canonical, parse
from tests.federation.samples import (
    BASE,
    DESCRIPTION,
    EPOCH,
    NOW,
    OTHER_EPOCH,
    PIPELINE,
    RULES,
    feed_actor,
    feed_document,
    flagged_rows,
    head,
    human_row,
    model_row,
    picture,
    proof_key,
    signed_page,
)

ACTOR = feed_actor()
DIGEST = digest({"any": "page"})


def unsigned(rows=None, feed=Feed.FLAGGED, **changes):
    rows = rows if rows is not None else flagged_rows()
    document = build_page(head(feed, **changes), rows, {PIPELINE: DESCRIPTION}, RULES)
    return copy.deepcopy(document)


def resigned(document, actor=ACTOR, now=NOW):
    """The issuer itself signs a page that breaks a rule."""
    (key_id,) = actor.proof_keys
    return proof.sign(document, proof_key(), key_id, now)


def parse_page(document, feed, now):
    """What a page says that its issuer signs as it stands."""
    actor = feed_actor(feed)
    return verify_page(resigned(document, actor, now), actor, now).page


def cell(row, name, value, document=None):
    """A page whose cell `name` in row `row` is `value`; row 0 model, 1 human, 2 and 3 retract."""
    document = document or unsigned()
    document["rows"][row][document["columns"].index(name)] = value
    return document


def test_a_page_says_what_was_put_into_it():
    verified = verify_page(signed_page(), ACTOR, NOW)
    assert verified.page.rows == tuple(flagged_rows())
    assert verified.page.head == head()
    assert verified.page.rules == RULES
    assert [pipeline.id for pipeline in verified.page.pipelines] == [PIPELINE]
    assert (verified.origin, verified.key_id) == (BASE, next(iter(ACTOR.proof_keys)))
    assert verified.page.digest == digest(signed_page())


def test_a_clean_page_has_ten_columns_and_a_flagged_one_twelve():
    assert signed_page([model_row()], Feed.CLEAN)["columns"] == list(CLEAN_COLUMNS)
    assert signed_page()["columns"] == [*CLEAN_COLUMNS, "pdq", "quality"]


def test_a_clean_page_never_tells_pdq_or_the_time_of_day():
    row = model_row(issued=NOW, pdq=picture("pdq"), pdq_quality=90)
    actor = feed_actor(Feed.CLEAN)
    (read,) = verify_page(signed_page([row], Feed.CLEAN), actor, NOW).page.rows
    assert isinstance(read, Attestation)
    assert (read.pdq, read.pdq_quality) == (None, None)
    assert read.issued == NOW - NOW % 86_400


def test_labels_of_several_rows_share_one_table():
    rows = [model_row("a", scores={"gore": 1}), model_row("b", scores={"sexual": 2})]
    read = verify_page(signed_page(rows), ACTOR, NOW).page.rows
    scores = [row.scores for row in read if isinstance(row, Attestation)]
    assert scores == [{"gore": 1, "sexual": None}, {"gore": None, "sexual": 2}]


def test_a_target_in_this_epoch_is_a_seq_and_in_another_a_pair():
    rows = unsigned()["rows"]
    target = CLEAN_COLUMNS.index("target")
    assert (rows[2][target], rows[3][target]) == (1, [OTHER_EPOCH, 77])


def test_a_later_page_chains_and_a_first_one_may_name_the_previous_epoch():
    later = signed_page(page=2, first_seq=5, previous_digest=DIGEST)
    assert verify_page(later, ACTOR, NOW).page.head.previous_digest == DIGEST
    end = EpochEnd(OTHER_EPOCH, 12)
    assert verify_page(signed_page(previous_epoch=end), ACTOR, NOW).page.head.previous_epoch == end


def test_the_digest_leaves_out_the_proof_and_nothing_else():
    document = signed_page()
    assert digest(document) == digest(document | {"proof": {"any": "thing"}})
    assert digest(document) != digest(document | {"page": 2})


# --- who says it -------------------------------------------------------------------------


def test_a_page_changed_in_one_byte_is_refused():
    document = signed_page()
    document["rows"][0][6][0] = 1
    with pytest.raises(BadProof):
        verify_page(document, ACTOR, NOW)


def test_a_page_signed_by_another_key_is_refused():
    with pytest.raises(BadProof):
        verify_page(signed_page(key=proof_key("mallory")), ACTOR, NOW)


def test_a_page_attributed_to_another_actor_is_refused():
    for other in (f"{BASE}/feeds/clean", "https://evil.example/feeds/flagged", None):
        with pytest.raises(WrongOrigin):
            verify_page(resigned(unsigned() | {"attributedTo": other}), ACTOR, NOW)


def test_a_page_of_an_actor_that_is_no_feed_is_refused():
    with pytest.raises(WrongOrigin):
        verify_page(signed_page(), dataclasses.replace(ACTOR, feed=None), NOW)


def test_a_flagged_page_does_not_pass_for_a_clean_one():
    with pytest.raises(WrongOrigin):
        verify_page(signed_page(), feed_actor(Feed.CLEAN), NOW)


@pytest.mark.parametrize(
    "context", [None, [], PAGE_CONTEXT[:2], [*PAGE_CONTEXT, {}], PAGE_CONTEXT[::-1]]
)
def test_a_page_with_another_context_is_refused(context):
    with pytest.raises(BadPage):
        verify_page(resigned(unsigned() | {"@context": context}), ACTOR, NOW)


def test_a_stolen_key_counts_only_for_the_pages_before():
    stolen = feed_actor(revoked=NOW, revoked_from=(EPOCH, 2))
    verify_page(signed_page(), stolen, NOW)
    with pytest.raises(BadProof):
        verify_page(signed_page(page=2, first_seq=5, previous_digest=DIGEST), stolen, NOW)
    with pytest.raises(BadProof):
        verify_page(signed_page(), feed_actor(revoked=NOW, revoked_from=(OTHER_EPOCH, 9)), NOW)
    with pytest.raises(BadProof):
        verify_page(signed_page(), feed_actor(revoked=NOW), NOW)


# --- what it says ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "AttestationPage"},
        {"type": ["AttestationPage", "Document"]},
        {"wire": 2},
        {"wire": "1"},
        {"id": f"{BASE}/feeds/flagged/{EPOCH}/pages/2"},
        {"id": f"{BASE}/feeds/clean/{EPOCH}/pages/1"},
        {"id": f"https://evil.example/feeds/flagged/{EPOCH}/pages/1"},
        {"epoch": OTHER_EPOCH},
        {"epoch": EPOCH.upper()},
        {"epoch": 7},
        {"page": 0},
        {"page": 2},
        {"page": True},
        {"page": "1"},
        {"firstSeq": 0},
        {"firstSeq": 2},
        {"firstSeq": None},
        {"count": 3},
        {"count": 5},
        {"count": "4"},
        {"published": None},
        {"published": 1},
        {"published": "1969-12-31T23:59:59Z"},
        {"previousDigest": DIGEST},
        {"previousDigest": None},
        {"previousEpoch": None},
        {"previousEpoch": {"epoch": EPOCH, "page": 1}},
        {"previousEpoch": {"epoch": OTHER_EPOCH, "page": -1}},
        {"previousEpoch": {"epoch": OTHER_EPOCH}},
        {"labels": None},
        {"labels": ["urn:fediverdict:label:minor"]},
        {"labels": ["urn:fediverdict:label:a"] * 3},
        {"labels": ["sexual", "minor", "gore"]},
        {"labels": ["urn:fediverdict:label:"] + ["urn:fediverdict:label:a"] * 2},
        {"rules": None},
        {"rules": {}},
        {"rules": {"patterns": "x"}},
        {"rules": {"urn:fediverdict:rule:patterns": 1}},
        {"rules": {"urn:fediverdict:rule:Patterns": "x"}},
        {"pipelines": None},
        {"pipelines": []},
        {"pipelines": [{}]},
        {"pipelines": [DESCRIPTION | {"more": "x"}]},
        {"pipelines": [DESCRIPTION | {"weights": 1}]},
        {"pipelines": [DESCRIPTION | {"weights": "x" * 1_025}]},
        {"columns": None},
        {"columns": []},
        {"columns": [*CLEAN_COLUMNS, "pdq"]},
        {"columns": [*CLEAN_COLUMNS, "pdq", "pdq"]},
        {"columns": [*CLEAN_COLUMNS, "pdq", 1]},
        {"columns": [*CLEAN_COLUMNS, "pdq", "other"]},
        {"rows": None},
        {"rows": []},
        {"rows": [None] * 4},
        {"rows": [[0]] * 4},
        {"extra": {"@graph": []}},
    ],
)
def test_a_page_that_breaks_a_rule_is_refused_though_its_issuer_signed_it(changes):
    with pytest.raises(BadPage):
        verify_page(resigned(unsigned() | changes), ACTOR, NOW)


def test_a_later_page_needs_a_previous_digest_and_no_previous_epoch():
    later = unsigned(page=2, first_seq=5, previous_digest=DIGEST)
    parse_page(later, Feed.FLAGGED, NOW)
    for changes in (
        {"previousDigest": None},
        {"previousDigest": "zQm"},
        {"previousEpoch": {"epoch": OTHER_EPOCH, "page": 1}},
        {"firstSeq": 1},
    ):
        with pytest.raises(BadPage):
            parse_page(later | changes, Feed.FLAGGED, NOW)


def test_every_column_is_needed():
    for name in (*CLEAN_COLUMNS, "pdq", "quality"):
        document = unsigned()
        place = document["columns"].index(name)
        for line in (document["columns"], *document["rows"]):
            del line[place]
        with pytest.raises(BadPage):
            parse_page(document, Feed.FLAGGED, NOW)


def test_columns_are_read_by_name_and_unknown_ones_ignored():
    document = unsigned()
    document["columns"] = [*document["columns"][::-1], "colour"]
    document["rows"] = [[*row[::-1], {"any": 1}] for row in document["rows"]]
    assert parse_page(document, Feed.FLAGGED, NOW).rows == tuple(flagged_rows())


HASH = "A" * 43


@pytest.mark.parametrize(
    ("row", "name", "value"),
    [
        *((0, "op", value) for value in (None, 2, -1, True, "0", 1)),
        *((2, "op", value) for value in (0, False)),
        *((0, name, value) for name in ("sha256", "content", "pdq")
          for value in (1, "", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "B", "+" + "A" * 42,
                        "/" + "A" * 42, "é" * 43, "A" * 21 + "\n" + "A" * 21, [HASH])),
        *((0, "sha256", value) for value in (None,)),
        *((0, "pipeline", value) for value in (None, 1, -1, True, "0", [0])),
        *((0, "basis", value) for value in (None, "human", "other", 0, ["model"])),
        *((0, "finding", value) for value in (
            "upheld", [], ["urn:fediverdict:rule:patterns", "upheld"])),
        *((0, "scores", value) for value in (
            None, [], [1, 2], [1, 2, 3, 4], [1, 2, -1], [1, 2, 10_001], [1, 2, True], [1, 2, "3"],
            {"a": 1}, [[1], 2, 3])),
        *((0, "issued", value) for value in (None, -1, NOW + 301, "1", True)),
        *((0, "expires", value) for value in (None, -1, 0, NOW - NOW % 86_400, "1")),
        *((0, "target", value) for value in (1, [1], 0)),
        *((0, "quality", value) for value in (None, -1, 101, "80", True)),
        *((0, "pdq", value) for value in (None,)),
        *((1, "pipeline", value) for value in (0,)),
        *((1, "scores", value) for value in ([1, 2, 3], [])),
        *((1, "basis", value) for value in ("model",)),
        *((1, "finding", value) for value in (
            None, [], ["patterns", "upheld"], ["urn:fediverdict:rule:patterns"],
            ["urn:fediverdict:rule:patterns", "dismissed"], ["urn:fediverdict:rule:none", "upheld"],
            [["urn:fediverdict:rule:patterns"], "upheld"], "upheld", [None, "upheld"])),
        *((2, name, value) for name, value in (
            ("sha256", HASH), ("content", HASH), ("pipeline", 0), ("basis", "model"),
            ("finding", []), ("scores", [1, 2, 3]), ("issued", 1), ("expires", 2),
            ("pdq", HASH), ("quality", 50))),
        *((2, "target", value) for value in (
            None, 0, -1, "1", True, [], [EPOCH], [EPOCH, 0], [EPOCH.upper(), 1], [1, EPOCH],
            [EPOCH, 1, 1], [None, 1])),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_costs_the_page(row, name, value):
    with pytest.raises(BadPage):
        parse_page(cell(row, name, value), Feed.FLAGGED, NOW)


def test_a_finding_has_no_place_in_the_clean_feed():
    document = unsigned([human_row()], Feed.CLEAN)
    with pytest.raises(BadPage):
        parse_page(document, Feed.CLEAN, NOW)


def test_a_row_is_issued_at_most_300_seconds_after_its_page():
    parse_page(cell(0, "issued", NOW + 300), Feed.FLAGGED, NOW)
    with pytest.raises(BadPage):
        parse_page(cell(0, "issued", NOW + 301), Feed.FLAGGED, NOW)


def test_a_page_is_published_at_most_an_hour_ahead():
    document = unsigned()
    parse_page(document, Feed.FLAGGED, NOW - 3_600)
    with pytest.raises(BadPage):
        parse_page(document, Feed.FLAGGED, NOW - 3_601)


def test_an_expiry_is_cut_at_366_days_after_issue():
    issued = NOW - NOW % 86_400
    for expires, read in (
        (issued + MAX_LIFETIME_SECONDS, issued + MAX_LIFETIME_SECONDS),
        (issued + MAX_LIFETIME_SECONDS + 1, issued + MAX_LIFETIME_SECONDS),
        (2**53 - 1, issued + MAX_LIFETIME_SECONDS),
    ):
        row = parse_page(cell(0, "expires", expires), Feed.FLAGGED, NOW).rows[0]
        assert isinstance(row, Attestation)
        assert row.expires == read


def test_a_page_has_1000_rows_at_most():
    rows = [model_row(str(number)) for number in range(pages.MAX_ROWS)]
    document = unsigned(rows)
    assert len(parse_page(document, Feed.FLAGGED, NOW).rows) == 1_000
    document["rows"].append(document["rows"][0])
    with pytest.raises(BadPage):
        parse_page(document | {"count": 1_001}, Feed.FLAGGED, NOW)
    with pytest.raises(ValueError, match="1000 rows"):
        unsigned([*rows, model_row("more")])


@pytest.mark.parametrize(
    ("name", "limit", "entry"),
    [
        ("labels", 256, lambda i: f"urn:fediverdict:label:extra-{i}"),
        ("pipelines", 64, lambda _: DESCRIPTION),
        ("columns", 64, lambda i: f"extra-{i}"),
    ],
)
def test_tables_have_a_limit(name, limit, entry):
    document = unsigned([human_row()])
    document[name] += [entry(i) for i in range(limit - len(document[name]))]
    document["rows"][0] += [None] * (len(document["columns"]) - len(document["rows"][0]))
    parse_page(document, Feed.FLAGGED, NOW)
    document[name].append(entry("more"))
    document["rows"][0] += [None] * (len(document["columns"]) - len(document["rows"][0]))
    with pytest.raises(BadPage):
        parse_page(document, Feed.FLAGGED, NOW)


def test_there_are_256_rules_at_most():
    document = unsigned([model_row()])
    rules = {f"urn:fediverdict:rule:r{i}": "a" for i in range(256)}
    parse_page(document | {"rules": rules}, Feed.FLAGGED, NOW)
    with pytest.raises(BadPage):
        parse_page(
            document | {"rules": rules | {"urn:fediverdict:rule:more": "a"}}, Feed.FLAGGED, NOW
        )


# --- laws --------------------------------------------------------------------------------

hashes = st.binary(min_size=32, max_size=32)
by_model = st.builds(
    Attestation,
    sha256=hashes,
    basis=st.just(Basis.MODEL),
    issued=st.integers(0, NOW + 300),
    expires=st.integers(NOW + 301, NOW + 302),
    content=st.none() | hashes,
    pipeline=st.just(PIPELINE),
    scores=st.fixed_dictionaries(
        {label: st.none() | st.integers(0, 10_000) for label in ("minor", "sexual")}
    ),
)
by_human = st.builds(
    Attestation,
    sha256=hashes,
    basis=st.just(Basis.HUMAN),
    issued=st.just(NOW),
    expires=st.just(NOW + 1),
    rule=st.sampled_from(sorted(RULES)),
    finding=st.just(Finding.UPHELD),
    pdq=hashes,
    pdq_quality=st.integers(0, 100),
)
retractions = st.builds(
    Retraction, epoch=st.sampled_from([EPOCH, OTHER_EPOCH]), seq=st.integers(1, 2**53 - 1)
)


@given(st.lists(by_model | by_human | retractions, min_size=1, max_size=8))
def test_rows_survive_the_wire(rows):
    read = verify_page(signed_page(rows), ACTOR, NOW).page.rows
    known = {label for row in rows if isinstance(row, Attestation) for label in row.scores}
    for got, sent in zip(read, rows, strict=True):
        if isinstance(sent, Attestation):
            cut = min(sent.expires, sent.issued + MAX_LIFETIME_SECONDS)
            assert got == dataclasses.replace(sent, expires=cut)
            assert not sent.scores or set(got.scores) == known
        else:
            assert got == sent


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.sampled_from(sorted(unsigned())), json_values)
def test_no_page_raises_anything_else(name, value):
    with contextlib.suppress(FederationError):
        verify_page(signed_page() | {name: value}, ACTOR, NOW)
    with contextlib.suppress(FederationError):
        parse_page(unsigned() | {name: value}, Feed.FLAGGED, NOW)


@settings(max_examples=200)
@given(
    st.integers(0, 3),
    st.sampled_from([*CLEAN_COLUMNS, "pdq", "quality"]),
    json_values | st.text(min_size=43, max_size=43),
)
def test_no_cell_raises_anything_else(row, name, value):
    with contextlib.suppress(FederationError):
        parse_page(cell(row, name, value), Feed.FLAGGED, NOW)


@given(st.integers(0, 4_000), st.integers(0, 255))
def test_no_changed_byte_passes(place, byte):
    """From bytes to a verified page, as a receiver does it."""
    raw = bytearray(canonical(signed_page()))
    place %= len(raw)
    if raw[place] == byte:
        return
    raw[place] = byte
    with pytest.raises((BadRequest, BadProof, WrongOrigin)):
        verify_page(parse(bytes(raw), 10**6), ACTOR, NOW)


def test_the_feed_document_used_here_is_a_feed():
    assert feed_document()["feed"] == "flagged"
