"""What can go wrong at the command line: a safe sentence and an exit code.

Exit codes: 0 fine, 1 found something, 2 usage (the caller must change the call or the config),
3 failed (the world must change: a port, a permission, a server).
"""

USAGE = 2
FAILED = 3


class UserError(Exception):
    """Something the user can mend; the message is one sentence that says how."""

    code = FAILED


class UsageError(UserError):
    """The call or the configuration is wrong."""

    code = USAGE


class ConfigError(UsageError):
    """The configuration file or an environment variable is wrong."""


class NotDecided(UserError):
    """Nothing could be decided now, neither clean nor flagged; ask again a little later."""


class ScanFailed(NotDecided):
    """The scanner failed at a picture; nothing was decided, and the log says why."""
