"""Errors of the scanner: one base, one class a cause; the message says what to do."""


class ScannerError(Exception):
    """Something the scanner was asked for could not be done."""


class Undecodable(ScannerError):
    """The bytes are no picture that can be judged: empty, truncated, wrong or unknown."""


class OverLimit(ScannerError):
    """The picture is larger than a limit allows; the message names limit and size."""


class StripError(ScannerError):
    """What a file holds beside its picture cannot be taken out of it without changing that."""


class PolicyError(ScannerError):
    """The policy file cannot be used; the message names the entry and how to mend it."""


class ModelError(ScannerError):
    """The model cannot be loaded; the message says what to install, set or fetch."""


class DownloadError(ModelError):
    """Weights cannot be fetched; the message names the address, the cause and what is kept."""


class NotInstalled(ModelError):
    """Nothing here can run the model; the message says what to install or to export."""


class SourceError(ScannerError):
    """A source of pictures cannot be listed or read; the message names the path and cause."""


class SourceChanged(SourceError):
    """The object is gone, or no longer the one that was listed; list the source again."""


class SourceUnreachable(SourceError):
    """The source does not answer, or refuses us; the message says which setting to look at."""


class DecoderFailed(ScannerError):
    """A decoder process ended, or said what cannot be; the picture is asked of another one."""


class NoDecoder(ScannerError):
    """No decoder process can be started, whatever the picture; the message says what to look at."""
