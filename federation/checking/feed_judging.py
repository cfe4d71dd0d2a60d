"""Judges what a feed shows to its followers, and how it and we stand to each other. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from federation.actors.remote_actor import RemoteActor
from federation.checking.judging import read_document
from federation.checking.looking import Look, is_there
from federation.checking.result import Check, Name, failed, ok, skipped, warning
from federation.client import Seen
from federation.errors import FederationError
from federation.following.follow import ACCEPTED, PENDING
from federation.following.followers import APPROVED, REJECTED, Follower
from federation.outbound.delivery_state import DeliveryState
from federation.outbound.media import Kind
from federation.reading.states import FeedState
from federation.signing.identity import Scheme
from federation.wire.outbox import OutboxHead, parse_outbox
from federation.wire.page import VerifiedPage, verify_page
from federation.wire.strictjson import JsonObject

LAG_PAGES: Final = 3
"""Pages that a feed may be ahead of us without a warning: they may be on their way."""

LAG_SECONDS: Final = 7_200
"""For how long pages may be missing without a warning; a pull comes every quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Known:
    """What our database knows of the peer."""

    feed: FeedState | None  # our follow of the feed in question
    followers: Sequence[Follower]  # actors of its host that follow us
    delivery: DeliveryState

    @property
    def is_accepted(self) -> bool:
        """Whether the feed lets us read its pages, as far as we know."""
        return self.feed is not None and self.feed.state == ACCEPTED


def judge_signature(unsigned: Look, signed: dict[Scheme, Look]) -> Check:
    """Say which kinds of our signatures it takes."""
    taken = [scheme.value for scheme, look in signed.items() if is_there(look)]
    todo = (
        "It must be able to fetch our actor and WebFinger to know our key; "
        "run `fediverdict federation check` on our own side, and compare the clocks."
    )
    if not taken:
        return failed(Name.SIGNATURE, "it takes none of our signatures", todo)
    said = f"it takes requests signed by {' and '.join(taken)}"
    if is_there(unsigned):
        said += ", and unsigned ones too (its actor is public)"
    return ok(Name.SIGNATURE, said)


def judge_outbox(document: JsonObject | str, actor: RemoteActor) -> tuple[Check, OutboxHead | None]:
    """Say whether the outbox tells how many pages there are, and return what it tells."""
    todo = "Followers see there what they miss; without it nothing is pulled."
    if actor.outbox is None:
        return failed(Name.OUTBOX, f"{actor.id} names no outbox", todo), None
    if isinstance(document, str):
        return failed(Name.OUTBOX, document, todo), None
    try:
        head = parse_outbox(document, actor.id, actor.outbox)
    except FederationError as error:
        return failed(Name.OUTBOX, str(error), todo), None
    if head is None or head.last_page == 0:
        return ok(Name.OUTBOX, "the outbox is empty: nothing was sealed yet"), None
    said = f"pages {head.first_page} to {head.last_page} of epoch {head.epoch}"
    return ok(Name.OUTBOX, said), head


def judge_page(
    look: Look, actor: RemoteActor, head: OutboxHead, known: Known, now: int
) -> tuple[Check, VerifiedPage | None]:
    """Say whether the newest page is what the feed signed and the outbox names."""
    if isinstance(look, Seen) and look.status == 404:
        return _judge_hidden(known), None
    document = read_document(look, Kind.ACTIVITY, len(look.body) if isinstance(look, Seen) else 0)
    if isinstance(document, str):
        return failed(Name.PAGE, document, "Ask its admin: pages are what it is for."), None
    try:
        verified = verify_page(document, actor, now)
    except FederationError as error:
        todo = "Nothing of it is taken; tell its admin. After a change of keys, try again."
        return failed(Name.PAGE, f"page {head.last_page}: {error}", todo), None
    if verified.page.digest != head.digest:
        todo = "Check again; if it stays so, it tells two stories: `fediverdict peers show`."
        said = f"page {head.last_page} has another digest than the outbox names"
        return failed(Name.PAGE, said, todo), None
    rows = len(verified.page.rows)
    return ok(Name.PAGE, f"page {head.last_page} has {rows} rows and a good proof"), verified


def _judge_hidden(known: Known) -> Check:
    if known.is_accepted:
        todo = "Its admin may have removed us: ask, or unfollow and follow again."
        return failed(Name.PAGE, "it accepted us, yet hides its pages from us", todo)
    return skipped(Name.PAGE, "it shows pages to approved followers alone")


def judge_chain(newest: VerifiedPage, before: Look, actor: RemoteActor, now: int) -> Check:
    """Say whether the newest page continues the one before it."""
    document = read_document(
        before, Kind.ACTIVITY, len(before.body) if isinstance(before, Seen) else 0
    )
    if isinstance(document, str):
        return skipped(Name.CHAIN, document)
    try:
        digest = verify_page(document, actor, now).page.digest
    except FederationError as error:
        return failed(Name.CHAIN, f"the page before it: {error}", "Tell its admin.")
    head = newest.page.head
    if head.previous_digest != digest:
        todo = "Its history was changed after the fact; do not trust it before its admin explains."
        return failed(Name.CHAIN, f"page {head.page} does not follow the page before it", todo)
    return ok(Name.CHAIN, f"page {head.page} follows page {head.page - 1}")


def judge_following(known: Known) -> Check:
    """Say whether we follow the feed."""
    feed = known.feed
    if feed is None:
        return ok(Name.FOLLOWING, "we do not follow it")
    if feed.halted is not None:
        todo = "Look at both stories with `fediverdict peers show`, then `peers resume`."
        return failed(Name.FOLLOWING, f"we follow it, halted: {feed.halted}", todo)
    if feed.state == PENDING:
        return ok(Name.FOLLOWING, "we asked to follow it; its admin has not answered yet")
    if feed.state != ACCEPTED:
        todo = "Ask its admin, then `fediverdict peers follow` again."
        return warning(Name.FOLLOWING, "it refused us, or ended that we follow it", todo)
    if feed.error:
        todo = "It is tried again by itself; `fediverdict peers show` says when."
        return warning(Name.FOLLOWING, f"we follow it; the last try failed: {feed.error}", todo)
    return ok(Name.FOLLOWING, "we follow it, and it accepted")


def judge_lag(known: Known, head: OutboxHead | None, now: int) -> Check:
    """Say how far behind we are in reading it."""
    feed = known.feed
    if feed is None or not known.is_accepted or head is None:
        return skipped(Name.LAG, "there is nothing that we read of it")
    if feed.epoch != head.epoch:
        return skipped(Name.LAG, "it began a new epoch, or we did not begin to read it yet")
    pages = head.last_page - feed.page
    seconds = 0 if feed.published is None else now - feed.published
    if pages <= 0:
        return ok(Name.LAG, "we have read all of it")
    said = f"we have read {feed.page} of {head.last_page} pages"
    if pages > LAG_PAGES and seconds > LAG_SECONDS:
        todo = "Is `fediverdict serve` running? `fediverdict peers show` names the last error."
        return warning(Name.LAG, said, todo)
    return ok(Name.LAG, said)


def judge_follower(known: Known) -> Check:
    """Say whether somebody of its host follows us."""
    if not known.followers:
        return ok(Name.FOLLOWER, "nobody there follows us")
    told = [f"{one.feed.name.lower()}: {one.state}" for one in known.followers]
    said = f"it follows us ({', '.join(told)})"
    if any(one.state not in (APPROVED, REJECTED) for one in known.followers):
        todo = "Approve or reject it: `fediverdict followers list`."
        return warning(Name.FOLLOWER, said, todo)
    return ok(Name.FOLLOWER, said)


def judge_delivery(known: Known) -> Check:
    """Say how deliveries to its host go."""
    state = known.delivery
    if state.host.failures:
        said = f"{state.host.failures} deliveries in a row failed: {state.error}"
        todo = "They are tried again by themselves; `fediverdict peers show` says when."
        return warning(Name.DELIVERY, said, todo)
    if state.dropped:
        said = f"{state.dropped} deliveries were given up, the last: {state.error}"
        return warning(Name.DELIVERY, said, "What was missed is pulled; look at the reason.")
    if state.succeeded is None and not state.waiting:
        return ok(Name.DELIVERY, "nothing was sent there yet")
    return ok(Name.DELIVERY, f"deliveries arrive; {state.waiting} wait")
