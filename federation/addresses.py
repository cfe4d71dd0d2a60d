"""Where the parts of an instance stand on the web, ours and those of other Fediverdicts.

One base URL without a path; everything else follows from it. The design fixes these paths, so
that the id of a page tells its feed, epoch and number.
"""

from base64 import urlsafe_b64encode
from typing import Final

from cache.verdict import Feed
from federation.origin import Origin, Url

FEED_NAMES: Final[dict[Feed, str]] = {Feed.CLEAN: "clean", Feed.FLAGGED: "flagged"}
FEEDS: Final[dict[str, Feed]] = {name: feed for feed, name in FEED_NAMES.items()}
INSTANCE_NAME: Final = "actor"
"""The instance actor's `preferredUsername` and path."""


def instance_url(base: Origin) -> Url:
    """Return the id of the instance actor."""
    return Url(f"{base}/{INSTANCE_NAME}")


def feed_url(base: Origin, feed: Feed) -> Url:
    """Return the id of a feed actor."""
    return Url(f"{base}/feeds/{FEED_NAMES[feed]}")


def actor_url(base: Origin, name: str) -> Url | None:
    """Return the id of the actor called `name` (`actor`, `clean`, `flagged`), if there is one."""
    if name == INSTANCE_NAME:
        return instance_url(base)
    return feed_url(base, FEEDS[name]) if name in FEEDS else None


def shared_inbox_url(base: Origin) -> Url:
    """Return the inbox that all our actors share."""
    return Url(f"{base}/inbox")


def inbox_url(actor_id: Url) -> Url:
    """Return the inbox of one of our actors."""
    return Url(f"{actor_id}/inbox")


def outbox_url(actor_id: Url) -> Url:
    """Return the outbox of one of our actors."""
    return Url(f"{actor_id}/outbox")


def followers_url(actor_id: Url) -> Url:
    """Return the followers collection of one of our actors."""
    return Url(f"{actor_id}/followers")


def page_url(feed_id: Url, epoch: str, page: int) -> Url:
    """Return the id of a page, `<feed>/<epoch>/pages/<page>`."""
    return Url(f"{feed_id}/{epoch}/pages/{page}")


def run_url(feed_id: Url, epoch: str, first: int, last: int) -> Url:
    """Return the id of merged pages, `<feed>/<epoch>/pages/<first>-<last>`."""
    return Url(f"{feed_id}/{epoch}/pages/{first}-{last}")


def head_url(feed_id: Url, epoch: str, page: int) -> Url:
    """Return the id of the head of a feed at a page, `<feed>/<epoch>/heads/<page>`."""
    return Url(f"{feed_id}/{epoch}/heads/{page}")


def snapshot_url(feed_id: Url) -> Url:
    """Return the id of the newest snapshot's manifest, `<feed>/snapshot`."""
    return Url(f"{feed_id}/snapshot")


def part_url(feed_id: Url, epoch: str, through_page: int, part: int) -> Url:
    """Return the id of a part, `<feed>/snapshot/<epoch>-<through page>/<part>`."""
    return Url(f"{snapshot_url(feed_id)}/{epoch}-{through_page}/{part}")


def attestation_url(base: Origin, feed: Feed, epoch: str, seq: int) -> Url:
    """Return the id of one sealed attestation, `/attestations/<feed>/<seq>?epoch=<epoch>`."""
    return Url(f"{base}/attestations/{FEED_NAMES[feed]}/{seq}?epoch={epoch}")


def question_url(base: Origin, feed: Feed, sha256: bytes) -> Url:
    """Return where a feed is asked for one picture; the id of what no page holds yet."""
    name = urlsafe_b64encode(sha256).decode("ascii").rstrip("=")
    return Url(f"{base}/attestations/{FEED_NAMES[feed]}?sha256={name}")
