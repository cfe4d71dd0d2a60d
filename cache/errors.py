"""Errors of the cache: one base, one class a cause; the message says what to do."""


class CacheError(Exception):
    """Something the cache was asked for could not be done."""


class DatabaseUnavailable(CacheError):  # noqa: N818
    """The database cannot be opened; check `database.url` and its permissions."""


class DatabaseTooNew(CacheError):  # noqa: N818
    """The database was written by a newer Fediverdict; upgrade this installation."""


class DatabaseTooOld(CacheError):  # noqa: N818
    """The database is of an older version; run `fediverdict db upgrade`."""


class RuleError(CacheError):
    """A rule is not a boolean expression over labels."""


class UnknownPipeline(CacheError):  # noqa: N818
    """A verdict names a pipeline whose description was not stored; call `pipeline_row` first."""


class UnknownPeer(CacheError):  # noqa: N818
    """No peer of that origin is known here; see `fediverdict peers list`."""


class TokenExists(CacheError):  # noqa: N818
    """A token of that name exists already; choose another name."""
