"""Which source a command means: a name under [sources], or a folder; and how it is opened."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import click

from fediverdict.cli.context import printable
from fediverdict.config import Config, expanded
from fediverdict.errors import UsageError
from scanner.sources.open import open_source
from scanner.sources.settings import FolderSettings, SourceSettings
from scanner.sources.source import Source


def source_of(config: Config, source: str) -> tuple[str, SourceSettings]:
    """Return the source's name and settings; a folder that the config lacks shares nothing."""
    if source in config.sources:
        return source, config.sources[source]
    if not source:
        raise UsageError("SOURCE is empty; give a folder, or a name under [sources]")
    folder = expanded(Path(source)).resolve()
    for name, settings in config.sources.items():
        if isinstance(settings, FolderSettings) and settings.path.resolve() == folder:
            return name, settings
    if not folder.exists():
        raise UsageError(f"there is no folder {source}, and no [sources.{source}] in the config")
    if not folder.is_dir():
        raise UsageError(f"{source} is not a folder; `fediverdict lookup` takes single pictures")
    return str(folder), FolderSettings(path=folder)


def warn(sentence: str) -> None:
    """Say a sentence on standard error."""
    click.echo(printable(sentence), err=True)


@asynccontextmanager
async def opened(
    settings: SourceSettings, report: Callable[[str], None] = warn
) -> AsyncIterator[Source]:
    """Open a source for the block; raises SourceError."""
    source = open_source(settings, report)
    try:
        yield source
    finally:
        await source.close()
