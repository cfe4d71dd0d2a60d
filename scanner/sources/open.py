"""Opens the source that settings describe; a missing client is named with the extra to install."""

from scanner.errors import SourceError
from scanner.sources.settings import (
    FolderSettings,
    PictrsSettings,
    S3Settings,
    SftpSettings,
    SourceSettings,
)
from scanner.sources.source import Report, Source


def open_source(settings: SourceSettings, report: Report = lambda _: None) -> Source:
    """Return the source; nothing is contacted yet.

    `report` is told, in the event loop's thread, what a listing had to leave out. Raises
    SourceError when the client for this kind is not installed or refuses the settings.
    """
    try:
        return _opened(settings, report)
    except ImportError as error:
        raise SourceError(
            f"a source of kind {settings.kind} needs {error.name}: "
            f"pip install 'fediverdict[{settings.kind}]'"
        ) from error


def _opened(settings: SourceSettings, report: Report) -> Source:
    # ruff: noqa: PLC0415  # each client is loaded only by those who use it
    match settings:
        case FolderSettings():
            from scanner.sources.folder import FolderSource

            return FolderSource(settings, report)
        case S3Settings():
            from scanner.sources.s3 import S3Source

            return S3Source(settings, report)
        case SftpSettings():
            from scanner.sources.sftp import SftpSource

            return SftpSource(settings, report)
        case PictrsSettings():
            from scanner.sources.pictrs import PictrsSource

            return PictrsSource(settings, report)
