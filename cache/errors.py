"""Errors of the cache: one base, one class a cause; the message says what to do."""


class CacheError(Exception):
    """Something the cache was asked for could not be done."""


class DatabaseUnavailable(CacheError):
    """The database cannot be opened; check `database.url` and its permissions."""


class DatabaseTooNew(CacheError):
    """The database was written by a newer Fediverdict; upgrade this installation."""


class DatabaseTooOld(CacheError):
    """The database is of an older version; run `fediverdict db upgrade`."""


class DatabaseNotOurs(CacheError):
    """The database holds tables of our names that no version of ours made; use an empty one."""


class RuleError(CacheError):
    """A rule is not a boolean expression over labels."""


class UnknownPipeline(CacheError):
    """A verdict names a pipeline whose description was not stored; call `pipeline_row` first."""


class UnknownPeer(CacheError):
    """No peer of that origin is known here; see `fediverdict peers list`."""


class TokenExists(CacheError):
    """A token of that name exists already; choose another name."""


class UnknownRun(CacheError):
    """There is no run of that number; `fediverdict apply` lists the runs."""


class AllowListFull(CacheError):
    """The allow-list holds `decide.allow_entries` entries; remove some, or raise that setting."""


class NotAllowed(CacheError):
    """There is no such entry of the allow-list; see `fediverdict allow list`."""


class NotHeld(CacheError):
    """No code of that picture is held; see `fediverdict codes held`."""


class BadListName(CacheError):
    """A hash list has a name of lower-case letters, digits and single hyphens."""


class UnknownCase(CacheError):
    """There is no case of that number; `fediverdict cases list` shows them."""


class NotInCase(CacheError):
    """That picture does not stand in that case; `fediverdict cases show` names those that do."""


class NotShown(CacheError):
    """A picture among near ones is to be decided unseen; `fediverdict cases show` shows it."""


class IndexDamaged(CacheError):
    """The files of an index are not as they were written; they are built again by themselves."""
