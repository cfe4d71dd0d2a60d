"""The settings of the cache as they stand in the config file; weights become hundredths here."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _no_hidden_zero(number: float) -> float:
    """Refuse what would be rounded to 0: weights and rates are kept in hundredths."""
    if number and not hundredths(number):
        raise ValueError("the smallest step is 0.01")
    return number


WeightInFile = Annotated[float, Field(ge=0.0, le=1.0), AfterValidator(_no_hidden_zero)]
QuorumInFile = Annotated[float, Field(ge=0.01, le=100.0)]


def hundredths(number: float) -> int:
    """Return a weight or quorum of the config file as integer hundredths."""
    return round(number * 100)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Settings):
    """`[database]`."""

    url: str = "sqlite:///fediverdict.sqlite3"
    cache_mib: Annotated[int, Field(ge=2, le=65_536)] = 64


class DecideSettings(_Settings):
    """`[decide]`."""

    clean_quorum: QuorumInFile = 1.0
    flag_quorum: QuorumInFile = 2.0
    near_clean: Literal["off", "own", "peers"] = "off"
    allow_entries: Annotated[int, Field(ge=0, le=10_000)] = 1_000
    hot_hash_pictures: Annotated[int, Field(ge=1, le=10_000)] = 100
    fast_clean: bool = False
    fast_clean_bytes: Annotated[int, Field(ge=1)] = 134_217_728  # answered and not matched yet


class IndexSettings(_Settings):
    """`[index]`: what the near-match index holds, and what a search may cost."""

    peer_codes: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    ball_codes: Annotated[int, Field(ge=1)] = 1_000
    search_work: Annotated[int, Field(ge=10_000)] = 4_000_000
    merge_rows: Annotated[int, Field(ge=1_000)] = 50_000
    merge_percent: Annotated[float, Field(gt=0, le=100)] = 5.0


class TrustSettings(_Settings):
    """`[trust]`."""

    audit: Literal["adaptive", "off"] = "adaptive"
    blast_radius_actions: Annotated[int, Field(ge=1)] = 10
    blast_radius_share: Annotated[float, Field(ge=0.00001, le=1.0)] = 0.001


class PeerDefaults(_Settings):
    """`[peers.defaults]`: what a new peer starts with."""

    clean_weight: WeightInFile = 0.0
    flag_weight: WeightInFile = 0.0
    labels: tuple[str, ...] = ("*",)
    max_age_days: Annotated[int, Field(ge=1, le=366)] = 180
    audit_rate: WeightInFile = 0.05
    min_agreement: WeightInFile = 0.95


class ReuseSettings(_Settings):
    """`[reuse]`: how long a verdict of ours stands, and how peers' verdicts are waited for."""

    verdict_days: Annotated[int, Field(ge=1, le=366)] = 180
    ask_origin: bool = True
    ask_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0  # for one picture, at all its feeds
    grace_seconds: Annotated[float, Field(ge=0, le=3_600)] = 90.0  # of background sources
    hosts: dict[str, str] = {}  # host[:port] of pictures -> origin of the peer that judges them
