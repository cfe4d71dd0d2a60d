"""Errors of the scanner: one base, one class a cause; the message says what to do."""


class ScannerError(Exception):
    """Something the scanner was asked for could not be done."""


class Undecodable(ScannerError):
    """The bytes are no picture that can be judged: empty, truncated, wrong or unknown."""


class OverLimit(ScannerError):
    """The picture is larger than a limit allows; the message names limit and size."""


class PolicyError(ScannerError):
    """The policy file cannot be used; the message names the entry and how to mend it."""


class ModelError(ScannerError):
    """The model cannot be loaded; the message says what to install, set or fetch."""


class SourceError(ScannerError):
    """A source of pictures cannot be listed or read; the message names the path and cause."""
