"""Fetches PDQ lists from signal exchanges, through the library and extra `threatexchange`.

The library knows the exchanges (NCMEC, StopNCII, ThreatExchange and others), how to ask them, and
finds the credentials in its own environment variables or files. Every fetch is a whole one: what
an exchange took back is gone after `import --replace`. Which rule the hashes speak of is left to
whoever imports them.
"""

import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import fields
from enum import EnumType
from typing import Any

from cache.memory.lists import Entry
from fediverdict.errors import UsageError, UserError
from fediverdict.exchange.rows import MAX_QUALITY, BadRow, hash_of

MODULES = {
    "ncmec": "ncmec_api",
    "stop_ncii": "stop_ncii_api",
    "fb_threatexchange": "fb_threatexchange_api",
    "tech_against_terrorism": "techagainstterrorism_api",
    "local_file": "file_api",
    "sample": "static_sample",
}
PACKAGE = "threatexchange"


def exchanges() -> list[str]:
    """Return the names of the exchanges that can be asked."""
    return sorted(MODULES)


def fetch_entries(name: str, options: Mapping[str, str]) -> list[Entry]:
    """Return every PDQ hash that an exchange shares with us; raises UserError.

    `options` are the fields of the exchange's settings, e.g. `environment`.
    """
    api_class = _api_class(name)
    config = _config(api_class, name, options)
    try:
        api = api_class.for_collab(config)
        return [_entry(code) for code in _codes(api, api_class, config)]
    except UserError:
        raise
    except Exception as error:  # the library raises whatever its clients do
        raise UserError(
            f"the exchange {name} cannot be read ({type(error).__name__}: {error}); "
            "check its settings and the credentials that the library threatexchange looks for"
        ) from error


def _codes(api: Any, api_class: Any, config: Any) -> list[str]:
    """Ask for everything, and return the PDQ hashes in hex."""
    pdq = importlib.import_module(f"{PACKAGE}.signal_type.pdq.signal").PdqSignal
    held: dict[Any, Any] = {}
    for delta in api.fetch_iter([pdq], None):
        api_class.naive_fetch_merge(held, delta.updates)
    return sorted(api_class.naive_convert_to_signal_type([pdq], config, held).get(pdq, {}))


def _entry(code: str) -> Entry:
    try:
        return Entry(pdq=hash_of(code, "pdq"), pdq_quality=MAX_QUALITY)
    except BadRow as error:
        raise UserError(f"the exchange gave a hash that is none: {error}") from error


def _api_class(name: str) -> Any:
    if name not in MODULES:
        raise UsageError(f"there is no exchange {name}; there are {', '.join(exchanges())}")
    try:
        module = importlib.import_module(f"{PACKAGE}.exchanges.impl.{MODULES[name]}")
    except ImportError as error:
        raise UsageError(
            "signal exchanges need the extra: pip install 'fediverdict[threatexchange]'"
        ) from error
    [found] = [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and one.__name__.endswith("SignalExchangeAPI")
    ]
    return found


def _config(api_class: Any, name: str, options: Mapping[str, str]) -> Any:
    config_class = api_class.get_config_cls()
    known = {one.name for one in fields(config_class) if one.init} - {"name", "api", "enabled"}
    if strange := sorted(set(options) - known):
        raise UsageError(
            f"the exchange {name} has no setting {strange[0]}; it has {', '.join(sorted(known))}"
        )
    given = {key: _value(config_class, key, text) for key, text in options.items()}
    has_api = any(one.name == "api" and one.init for one in fields(config_class))
    common = {"name": name, "enabled": True} | ({"api": name} if has_api else {})
    try:
        return config_class(**common, **given)
    except TypeError as error:
        raise UsageError(f"the exchange {name} needs more settings (--set): {error}") from error


def _value(config_class: Any, key: str, text: str) -> Any:
    """Return a setting as its type: a member of an enumeration by name, a number, else text."""
    [kind] = [one.type for one in fields(config_class) if one.name == key]
    if isinstance(kind, EnumType):
        if text not in kind.__members__:
            raise UsageError(f"{key} is one of {', '.join(kind.__members__)}")
        return kind[text]
    try:
        return text if kind is str else json.loads(text)
    except ValueError:
        return text
