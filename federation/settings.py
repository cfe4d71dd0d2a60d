"""The limits and intervals of federation, each with its unit, as they stand in the config file."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from federation.errors import BadRequest
from federation.origin import netloc_of, parse_origin
from federation.outbound.domain import parse_domain


def _host_and_port(text: str) -> str:
    """Return `host[:port]` in the one spelling that origins have."""
    try:
        return netloc_of(parse_origin(f"https://{text}"))
    except BadRequest as error:
        message = f"{text!r} is no host; write e.g. social.example"
        raise ValueError(message) from error


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except BadRequest as error:
        raise ValueError(str(error)) from error


class FederationSettings(BaseModel):
    """`[federation]`: how this instance talks to peers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_private_addresses: bool = False  # also allows http; for demos and tests only
    activity_bytes: int = Field(default=262_144, ge=1_024)  # an inbound activity, decoded
    page_bytes: int = Field(default=2_097_152, ge=1_024)  # a page, decoded
    document_bytes: int = Field(default=262_144, ge=1_024)  # actor, WebFinger, NodeInfo, outbox
    fetch_seconds: float = Field(default=10.0, gt=0)  # a whole fetch, redirects included
    redirects: int = Field(default=3, ge=0)  # of one fetch, same origin only
    followers_per_host: int = Field(default=3, ge=1)
    blocked_domains: tuple[
        Annotated[str, AfterValidator(_domain)], ...
    ] = ()  # hosts, and everything below them
    block_rows: int = Field(default=100_000, ge=1)  # domains blocked by command or import
    # hosts whose Follow of the clean feed is approved at once
    approve_clean: tuple[Annotated[str, AfterValidator(_host_and_port)], ...] = ()
    connections: int = Field(default=64, ge=1)  # outbound, in all
    connections_per_host: int = Field(default=4, ge=1)
    key_refetch_seconds: int = Field(default=600, ge=1)  # one refetch for an unknown key
    key_fetches_per_minute: int = Field(default=60, ge=1)  # caused by unknown Follows
    remote_actors: int = Field(default=10_000, ge=1)  # rows kept of actors nobody follows
    pending_followers: int = Field(default=1_000, ge=1)  # waiting for approval, in all
    inbox_rows: int = Field(default=10_000, ge=1)  # received and not acted on yet
    inbox_rows_per_host: int = Field(default=1_000, ge=1)  # of those, of one peer
    inbox_kept_rows: int = Field(default=200_000, ge=1)  # acted on; kept to know a replay by
    inbox_tries: int = Field(default=8, ge=1)
    inbox_keep_seconds: int = Field(default=604_800, ge=7_200)  # ids kept to know a replay by
    acting_at_once: int = Field(default=8, ge=1)  # actors whose activities are acted on
    bodies_at_once: int = Field(default=256, ge=1)  # inbound bodies that are still arriving
    proxies: int = Field(default=0, ge=0)  # reverse proxies before us that add to X-Forwarded-For
    activities_per_minute: int = Field(default=240, ge=1)  # taken from one peer
    activity_bytes_per_minute: int = Field(default=16_777_216, ge=1_024)  # from one peer, decoded
    wrong_signatures_per_minute: int = Field(default=30, ge=1)  # of one network in one peer's name
    strangers_per_minute: int = Field(default=60, ge=1)  # activities of all strangers together
    poll_seconds: float = Field(default=1.0, gt=0)  # how often the loops look for work
    delivery_tries: int = Field(default=16, ge=1)
    delivery_rows: int = Field(default=20_000, ge=1)  # waiting, in all
    delivery_rows_per_host: int = Field(default=200, ge=1)  # waiting for one host
    delivery_hosts: int = Field(default=32, ge=1)  # delivered to at once
    host_failures: int = Field(default=5, ge=1)  # in a row, which open the breaker of a host
    host_failures_seconds: int = Field(default=600, ge=1)  # when they come within this time
    host_rest_seconds: int = Field(default=1_800, ge=1)  # of the open breaker; then doubled
    retry_seconds: int = Field(default=30, ge=1)  # first wait after a failure, then doubled
    retry_seconds_max: int = Field(default=43_200, ge=1)
    pull_seconds: int = Field(default=900, ge=1)  # how often a followed feed is asked
    pull_documents: int = Field(default=1_000, ge=2)  # fetched of one feed before others get a turn
    pull_bytes: int = Field(default=268_435_456, ge=1_024)  # of those, decoded
    snapshot_pages: int = Field(default=64, ge=0)  # of a new feed; for more its snapshot is read
    heads_seconds: int = Field(default=3_600, ge=1)  # how often heads of feeds are told to peers
    attestations_per_minute: int = Field(default=600, ge=1)  # answered to one follower
    merged_per_minute: int = Field(default=300, ge=1)  # and parts of snapshots, to one follower
    served_bytes: int = Field(default=33_554_432, ge=0)  # of our feeds, kept for who asks next
    disputes_per_day: int = Field(default=20, ge=0)  # attestations that one peer may dispute
    breaker_failures: int = Field(default=3, ge=1)  # in a row, after which an origin is left alone
    breaker_seconds: int = Field(default=60, ge=1)  # for so long at first, then doubled
    breaker_seconds_max: int = Field(default=3_600, ge=1)


class FeedSettings(BaseModel):
    """`[feed]`: when rows are sealed into pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seal_seconds: float = Field(
        default=60.0, ge=0, allow_inf_nan=False
    )  # age of the oldest unsealed clean row
    seal_flagged_seconds: float = Field(
        default=10.0, ge=0, allow_inf_nan=False
    )  # flagged rows and retractions
    page_rows: int = Field(default=1_000, ge=1, le=1_000)
