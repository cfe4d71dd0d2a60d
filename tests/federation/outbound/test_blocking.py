"""Which domains are blocked, however they are spelled, and how soon a new block counts."""

import pytest

from cache.storage.peer_tables import blocked_domains
from federation.errors import BadRequest, BlockedDomain, TooManyBlocks
from federation.outbound import blocking
from federation.outbound.block_list import (
    Block,
    add_blocks,
    list_blocks,
    parse_list,
    remove_block,
    to_csv,
)
from federation.outbound.blocking import Blocks
from federation.outbound.domain import parse_domain

MASTODON = """#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate
bad.example,suspend,False,False,"spam, and more",False
mild.example,silence,False,False,,False
fine.example,noop,False,False,,False
BAD.example.,suspend,False,False,,False
hid***.example,suspend,False,False,,True
"""


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Bad.Example", "bad.example"),
        (" bad.example. ", "bad.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[::0:1]", "::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]", "192.0.2.7"),
    ],
)
def test_a_domain_has_one_spelling(text, domain):
    assert parse_domain(text) == domain


@pytest.mark.parametrize(
    "text",
    ["", "https://a.example", "*.a.example", "a.example:8443", "a.example/x", "a b", "x" * 256],
)
def test_what_is_no_domain_is_said_in_one_sentence(text):
    with pytest.raises(BadRequest, match=r"host|port"):
        parse_domain(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://bad.example/x",
        "https://BAD.example",
        "https://bad.example.",
        "https://deep.below.bad.example:8443/actor#main-key",
        "https://xn--bcher-kva.example",
        "https://192.0.2.7.:8443/x",
        "https://[::ffff:192.0.2.7]/actor",
        "https://[::ffff:c000:207]:8443/actor",
    ],
)
async def test_a_blocked_domain_covers_every_spelling_and_all_below(url):
    blocks = Blocks(("bad.example", parse_domain("bücher.example"), "192.0.2.7"))
    with pytest.raises(BlockedDomain, match="is blocked"):
        await blocks.refuse(url)


@pytest.mark.parametrize(
    "url", ["https://notbad.example", "https://example", "https://bad.example.org", "list:x"]
)
async def test_a_name_that_only_looks_alike_is_not_blocked(url):
    await Blocks(("bad.example",)).refuse(url)


async def test_a_block_in_the_database_counts_within_the_poll_and_so_does_its_end(store):
    seconds = [0.0]
    blocks = Blocks((), store, 1.0, lambda: seconds[0])
    await blocks.refuse("https://a.bad.example")
    store.write_now(add_blocks, [Block("bad.example")], 1, 10)
    await blocks.refuse("https://a.bad.example")
    seconds[0] = 1.0
    with pytest.raises(BlockedDomain):
        await blocks.refuse("https://a.bad.example")
    assert store.write_now(remove_block, "bad.example")
    assert not store.write_now(remove_block, "bad.example")
    seconds[0] = 2.0
    await blocks.refuse("https://a.bad.example")


async def test_made_up_hosts_do_not_grow_what_is_remembered(sqlite_store):
    blocks = Blocks((), sqlite_store, 1e9)
    for number in range(blocking.REMEMBERED_HOSTS + 1):
        await blocks.refuse(f"https://h{number}.example")
    assert len(blocks._answers) == blocking.REMEMBERED_HOSTS


def test_the_csv_of_mastodon_blocks_what_it_suspends_and_counts_the_rest():
    found = parse_list(MASTODON, "theirs.csv")
    assert list(found.blocks) == ["bad.example"]
    assert found.blocks["bad.example"].reason == "spam, and more"
    assert (found.milder, found.repeated, found.unreadable) == (2, 1, ["hid***.example"])
    both = parse_list(MASTODON.replace("#", ""), "", silence_too=True)
    assert list(both.blocks) == ["bad.example", "mild.example"]
    assert both.milder == 1


def test_a_plain_list_has_one_domain_a_line():
    found = parse_list("\ufeff# mine\n\nbad.example # why\n*.worse.example\n", "")
    assert list(found.blocks) == ["bad.example", "worse.example"]


def test_a_csv_without_severities_is_refused():
    with pytest.raises(BadRequest, match="no column severity"):
        parse_list("#domain,#public_comment\nbad.example,x\n", "")


def test_a_csv_is_read_by_the_names_of_its_columns_in_any_order_and_in_quotes():
    """It was taken for a plain list, and blocked whatever its first cells were."""
    text = '"severity","#domain"\nsuspend,bad.example\n"silence","mild.example"\n'
    found = parse_list(text, "")
    assert (list(found.blocks), found.milder) == (["bad.example"], 1)


@pytest.mark.parametrize(
    "text",
    [
        "bad.example,suspend\nmild.example,silence\n",
        "severity,reason\nsuspend,spam\n",
        "#severity,#reason\nsuspend,spam\n",
        "<html>\n<body>not a list</body>\n",
    ],
)
def test_what_is_no_block_list_blocks_nothing(text):
    with pytest.raises(BadRequest):
        parse_list(text, "")


def test_a_comment_of_a_plain_list_may_hold_commas():
    found = parse_list("# spam, scams, and worse\nbad.example\nmild.example,silence\n", "")
    assert (list(found.blocks), found.unreadable) == (["bad.example"], ["mild.example,silence"])


def test_what_is_exported_is_imported_again():
    blocks = [Block("bad.example", 'say "no", please'), Block("xn--bcher-kva.example")]
    found = parse_list(to_csv(blocks), "").blocks.values()
    assert [(one.domain, one.reason) for one in found] == [(b.domain, b.reason) for b in blocks]


def test_the_list_is_bounded_and_a_list_too_long_adds_nothing(store):
    two = [Block("a.example"), Block("b.example", "x")]
    assert store.write_now(add_blocks, two, 7, 2) == 2
    with pytest.raises(TooManyBlocks, match="at most 2 domains"):
        store.write_now(add_blocks, [Block("c.example")], 8, 2)
    assert (
        store.write_now(add_blocks, [Block("a.example", "why"), Block("b.example", "y")], 9, 2) == 0
    )
    assert store.read_now(list_blocks) == [
        Block("a.example", "why", "", 7),
        Block("b.example", "x", "", 7),
    ]
    assert blocked_domains.c.keys() == ["domain", "reason", "source", "added"]
