"""What docs/wire.md and FEDERATION.md say is what the code does."""

import json
import re
from pathlib import Path

import pytest

from cache import rules
from cache.memory import provisional
from cache.verdict import Feed
from federation import settings
from federation.context import ACTOR_CONTEXT, ATTESTATION_CONTEXT, PAGE_CONTEXT
from federation.signing import cavage, keys, signature_header
from federation.wire import (
    attestation,
    columns,
    composing,
    page,
    page_head,
    page_rows,
    page_tables,
    pipeline,
    proof,
    row,
    strictjson,
)

ROOT = Path(__file__).parents[3]
WIRE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
FEDERATION = (ROOT / "FEDERATION.md").read_text(encoding="utf-8")


def test_all_contexts_stand_in_the_document():
    blocks = re.findall(r"```json\n(.*?)```", WIRE, re.DOTALL)
    assert [json.loads(block) for block in blocks] == [
        ACTOR_CONTEXT,
        PAGE_CONTEXT,
        ATTESTATION_CONTEXT,
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("| rows of a page | {} |", page.MAX_ROWS),
        ("| bytes of a page | {} |", settings.FederationSettings().page_bytes),
        ("| labels, rules | {} each", page_tables.MAX_LABELS),
        ("| labels, rules | {} each", page_tables.MAX_RULES),
        ("| characters of a rule | {} |", rules.MAX_RULE_CHARACTERS),
        ("| pipelines | {} |", page_tables.MAX_PIPELINES),
        ("| columns | {} |", columns.MAX_COLUMNS),
        ("issued > published + {}", page_rows.ISSUED_AFTER_PAGE_SECONDS),
        ("`published` more than {} s ahead", page_head.PUBLISHED_AHEAD_SECONDS),
        ("issued + {} days", page_rows.MAX_LIFETIME_SECONDS // 86_400),
        ("at most {} s ahead. The", proof.CLOCK_SKEW_SECONDS),
        ("more than {} s away from now", attestation.FRESH_SECONDS),
        ("at most {} s, unless", provisional.PROVISIONAL_SECONDS),
        ("at most {} bytes, is no", settings.FederationSettings().document_bytes),
        ("{} questions a minute", settings.FederationSettings().attestations_per_minute),
        ("strings of at most {} characters", pipeline.MAX_TEXT_CHARACTERS),
        ("at most {} levels deep", strictjson.MAX_DEPTH),
        ("lie within {} s of now", cavage.WINDOW_SECONDS),
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


def test_every_activity_we_understand_stands_in_federation_md():
    for kind in ("Follow", "Accept", "Reject", "Undo", "Create"):
        assert f"`{kind}`" in FEDERATION


def test_the_links_of_both_documents_lead_somewhere():
    for folder, text in ((ROOT / "docs", WIRE), (ROOT, FEDERATION)):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (folder / target).exists(), target
