"""Joins the parts of a judge for the processes that need one: `serve`, `scan`, `lookup`."""

from cache.database import Store
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.judgement import Judgements
from fediverdict.scanning import Scanner
from scanner.policy import load_policy


def build_judge(config: Config, store: Store, *, can_scan: bool = True) -> Judge:
    """Return a judge over `store`; it scans only where the config allows and the caller wants."""
    policy = load_policy(config.scanner.policy)
    scanner = Scanner(config.scanner, policy) if config.scanner.enabled and can_scan else None
    return Judge(store, Judgements(config, policy), scanner, config.limits)
