"""What docs/wire.md and FEDERATION.md say is what the code does."""

import json
import re
from pathlib import Path

import pytest

from cache import rules
from cache.memory import provisional
from cache.verdict import Feed
from federation import settings
from federation.context import ACTOR_CONTEXT, ATTESTATION_CONTEXT, FEED_CONTEXT, PAGE_CONTEXT
from federation.publishing import outboxes, runs, snapshots
from federation.reading import heads
from federation.signing import keys, request, signature_header, signature_input
from federation.wire import (
    activity,
    attestation,
    columns,
    composing,
    members,
    merged,
    outbox,
    page,
    page_rows,
    page_tables,
    pipeline,
    proof,
    row,
    snapshot,
    strictjson,
)
from tests.federation.vectors.make import vectors

ROOT = Path(__file__).parents[3]
WIRE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
FEDERATION = (ROOT / "FEDERATION.md").read_text(encoding="utf-8")


def test_all_contexts_stand_in_the_document():
    blocks = re.findall(r"```json\n(.*?)```", WIRE, re.DOTALL)
    assert [json.loads(block) for block in blocks] == [
        ACTOR_CONTEXT,
        PAGE_CONTEXT,
        FEED_CONTEXT,
        ATTESTATION_CONTEXT,
    ]
    assert [FEED_CONTEXT[0], *FEED_CONTEXT[2:]] == outbox.OUTBOX_CONTEXT


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("| rows of a page | {} |", page.MAX_ROWS),
        ("| bytes of a page, not compressed | {} |", settings.FederationSettings().page_bytes),
        ("| bytes of a page, not compressed | {} |", page.MAX_PAGE_BYTES),
        ("in blocks of {}:", merged.BLOCK_PAGES),
        ("at most {} rows together", merged.MAX_RUN_ROWS),
        ("its last page is {} s old", runs.MERGED_AFTER_SECONDS),
        ("more than {} pages, or has dropped", snapshots.MIN_PAGES),
        ("Parts of the last {} snapshots", snapshots.KEPT),
        ("oldest first, at most {}:", snapshot.MAX_PREVIOUS_EPOCHS),
        ("at most {}; empty", snapshot.MAX_PARTS),
        ("its rows, 1 to {} |", snapshot.MAX_PART_ROWS),
        ("its newest {} pages", outboxes.NEWEST_PAGES),
        ("gets {} merged pages", settings.FederationSettings().merged_per_minute),
        ("a list of at most {} (we send", activity.MAX_HEADS),
        ("(we send {})", heads.MAX_HEADS_TOLD),
        ("a list of at most {}, each in", activity.MAX_DISPUTED),
        ("at most {} bytes of plain text", activity.MAX_DISPUTE_BYTES),
        ("At most {} labels are read", signature_input.MAX_LABELS),
        ("| labels, rules | {} each", page_tables.MAX_LABELS),
        ("| labels, rules | {} each", page_tables.MAX_RULES),
        ("| characters of a rule | {} |", rules.MAX_RULE_CHARACTERS),
        ("| pipelines | {} |", page_tables.MAX_PIPELINES),
        ("| columns | {} |", columns.MAX_COLUMNS),
        ("issued > published + {}", page_rows.ISSUED_AFTER_PAGE_SECONDS),
        ("`published` more than {} s ahead", members.PUBLISHED_AHEAD_SECONDS),
        ("issued + {} days", page_rows.MAX_LIFETIME_SECONDS // 86_400),
        ("at most {} s ahead. The", proof.CLOCK_SKEW_SECONDS),
        ("more than {} s away from now", attestation.FRESH_SECONDS),
        ("at most {} s, unless", provisional.PROVISIONAL_SECONDS),
        ("at most {} bytes, is no", settings.FederationSettings().document_bytes),
        ("{} questions a minute", settings.FederationSettings().attestations_per_minute),
        ("strings of at most {} characters", pipeline.MAX_TEXT_CHARACTERS),
        ("at most {} levels deep", strictjson.MAX_DEPTH),
        ("lies within {} s of now", request.WINDOW_SECONDS),
        ("at most {} characters and covers", signature_header.MAX_HEADER_CHARACTERS),
        ("covers at most {} headers", signature_header.MAX_COVERED),
        ("under {} bytes", composing.INLINE_BYTES),
        ("RSA of {}", keys.RSA_BITS),
        ("to {} bits", keys.MAX_RSA_BITS),
    ],
)
def test_every_limit_stands_in_the_document(text, value):
    plain = WIRE.replace("\n", " ")
    assert text.format(f"{value:,}") in plain


def test_every_column_and_member_stands_in_the_document():
    for name in row.COLUMNS[Feed.FLAGGED]:
        assert f"| `{name}`" in WIRE
    for name in pipeline.KEYS:
        assert f"`{name}`" in WIRE


def test_every_vector_and_every_member_of_it_stands_in_the_document():
    for name, vector in vectors().items():
        assert f"`{name}`" in WIRE
        for member in vector["document"]:
            assert re.search(rf"[`\"]{member}[`\"]", WIRE), (name, member)


def test_every_activity_we_understand_stands_in_federation_md():
    for kind in ("Follow", "Accept", "Reject", "Undo", "Create"):
        assert f"`{kind}`" in FEDERATION


def test_the_links_of_both_documents_lead_somewhere():
    for folder, text in ((ROOT / "docs", WIRE), (ROOT, FEDERATION)):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (folder / target).exists(), target
