"""Joins the parts for every process that needs them: `serve`, `scan`, `lookup`, `peers`."""

import logging
import time
from collections.abc import Mapping
from importlib import metadata

from sqlalchemy import Connection

from cache.guards.guards import TableGuards
from cache.index.near import NearIndex
from cache.memory.seeding import is_seeded, seed_test_card
from cache.storage.database import Store
from federation.actors.retiring import retired_at
from federation.instance import Instance
from federation.origin import parse_origin
from federation.service import Federation
from federation.signing.keystore import ensure_keys
from fediverdict.asking import Asker
from fediverdict.config import Config
from fediverdict.judge import Judge, Tally
from fediverdict.judgement import Judgements
from fediverdict.near_clean import build_twins, sketch_secret, warning
from fediverdict.scanning import Scanner
from scanner.classifiers.engine import Purpose, is_installed, what_is_missing
from scanner.decoding.pool import DecodePool
from scanner.policy import load_policy
from scanner.settings import shadow_settings

logger = logging.getLogger(__name__)


def clock() -> int:
    """Return UTC epoch seconds."""
    return int(time.time())


def build_judge(
    config: Config,
    store: Store,
    *,
    can_scan: bool = True,
    purpose: Purpose = "serve",
    tally: Tally | None = None,
    asker: Asker | None = None,
) -> Judge:
    """Return a judge over `store`; it scans only where the config allows and the caller wants.

    `tally` is told of every answer, `asker` asks the hosts that pictures came from.
    """
    policy = load_policy(config.scanner.policy)
    has_scanner = config.scanner.enabled and is_installed(config.scanner, policy)
    if can_scan and config.scanner.enabled and not has_scanner:
        missing = what_is_missing(config.scanner, policy)
        logger.warning("nothing is scanned here, only reused: %s", missing)
    if can_scan and (risk := warning(config)) is not None:
        logger.warning("%s", risk)
    scanner = shadow = None
    if has_scanner and can_scan:
        scanner = Scanner(config.scanner, policy, purpose)
        shadow = _shadow(config, purpose)
    later = store.write_later if can_scan else None  # what only looks changes nothing
    judgements = Judgements(config, policy, has_scanner=has_scanner, later=later)
    if not store.read_now(is_seeded):
        store.write_now(_seed, judgements)
    if can_scan:
        store.write_now(judgements.settle, clock())
    return Judge(
        store,
        judgements,
        DecodePool(config.scanner, config.limits, sketch_secret(config, store)),
        scanner,
        shadow,
        near=NearIndex(config.instance.state_dir / "index", config.index),
        guards=TableGuards(config.decide, later),
        twins=build_twins(config),
        tally=tally,
        asker=asker,
    )


def _shadow(config: Config, purpose: Purpose) -> Scanner | None:
    """Return the scanner of the pipeline in shadow, None where there is none."""
    if not config.scanner.shadow.enabled:
        return None
    settings = shadow_settings(config.scanner)
    return Scanner(settings, load_policy(settings.policy), purpose)


def _seed(connection: Connection, judgements: Judgements) -> None:
    seed_test_card(connection, judgements.current(connection), now=clock())


def rule_texts(config: Config) -> dict[str, str]:
    """Return the expression of each rule in force here, by name."""
    return {**load_policy(config.scanner.policy).rules, **config.rules}


def own_instance(config: Config, store: Store) -> Instance:
    """Return this instance as peers meet it, with its keys."""
    base = parse_origin(config.instance.base_url, allow_http=True)
    keys, retired = store.write_now(ensure_keys, clock()), store.read_now(retired_at)
    return Instance(base, keys, clock, retired)


def build_federation(
    config: Config, store: Store, rules: Mapping[str, str] | None = None
) -> Federation:
    """Return federation, not started; `rules` are published beside the attestations."""
    return Federation(
        store,
        own_instance(config, store),
        config.federation,
        config.feed,
        state_dir=config.instance.state_dir,
        user_agent=f"Fediverdict/{metadata.version('fediverdict')} (+{config.instance.base_url})",
        rules=rules,
    )
