"""`fediverdict scan`: judge every picture of a folder, once; report only, nothing is touched."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import click

from cache.sightings import source_row
from cache.verdict import Decision
from fediverdict.cli.context import Context, json_option, pass_context, print_json, printable
from fediverdict.config import Config, SourceSettings, expanded
from fediverdict.errors import UsageError
from fediverdict.folder_scan import FolderScan, Seen
from fediverdict.parts import build_judge

FOUND = frozenset({Decision.FLAGGED, Decision.REVIEW})
PROGRESS_SECONDS = 0.5
PICTURE_SUFFIXES = frozenset(
    ("", ".jpg", ".jpeg", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif")
)


@click.command()
@click.argument("source", metavar="SOURCE")
@json_option
@pass_context
def scan(context: Context, source: str, as_json: bool) -> int:
    """Judge every picture of SOURCE: a folder, or a name under [sources] in the config.

    What is known already is not scanned again. Stopping it (Ctrl-C) keeps what is done.
    Ends with 1 when a picture is flagged or up for review.
    """
    name, settings = source_of(context.config, source)
    report = Report(as_json)
    asyncio.run(_scan(context, name, settings, report))
    report.finish()
    return int(report.found_any)


def source_of(config: Config, source: str) -> tuple[str, SourceSettings]:
    """Return the source's name and settings; a folder that the config lacks shares nothing."""
    if source in config.sources:
        return source, config.sources[source]
    if not source:
        raise UsageError("SOURCE is empty; give a folder, or a name under [sources]")
    folder = expanded(Path(source)).resolve()
    for name, settings in config.sources.items():
        if settings.path.resolve() == folder:
            return name, settings
    if not folder.exists():
        raise UsageError(f"there is no folder {source}, and no [sources.{source}] in the config")
    if not folder.is_dir():
        raise UsageError(f"{source} is not a folder; `fediverdict lookup` takes single pictures")
    return str(folder), SourceSettings(path=folder)


async def _scan(context: Context, name: str, settings: SourceSettings, report: "Report") -> None:
    judge = build_judge(context.config, context.store)
    folder = str(settings.path)
    source_id = await context.store.write(source_row, name=name, kind="folder", location=folder)
    one_pass = FolderScan(judge, source_id, settings.path, settings.share)
    async for seen in one_pass.run(context.config.scanner.batch):
        report.add(seen)
    if judge.scanner is None:
        click.echo("nothing can be scanned here; what nobody judged stays unknown", err=True)


def _is_no_picture(seen: Seen) -> bool:
    """Tell whether it is a file that neither decodes as a picture nor is named as one."""
    undecodable = seen.answer is not None and seen.answer.decision is Decision.UNDECODABLE
    return undecodable and Path(seen.key).suffix.lower() not in PICTURE_SUFFIXES


class Report:
    """Counts what was seen, says what was found, and shows progress on a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._counts: Counter[str] = Counter()
        self._started = self._shown = time.monotonic()

    @property
    def found_any(self) -> bool:
        """Whether a picture was flagged or is up for review."""
        return any(self._counts[decision] for decision in FOUND)

    def add(self, seen: Seen) -> None:
        """Take one file."""
        if _is_no_picture(seen):
            self._counts["no-picture"] += 1
            return
        self._counts["pictures"] += 1
        if seen.answer is None:
            self._counts["unreadable"] += 1
            click.echo(printable(f"{seen.key}: {seen.problem}"), err=True)
            return
        self._counts[seen.answer.decision] += 1
        self._counts["scanned"] += seen.answer.scanned
        self._say(seen)
        self._progress()

    def _say(self, seen: Seen) -> None:
        if seen.answer is None:
            return
        if self._as_json:
            feed = seen.feed.name.lower() if seen.feed else None
            said = {"decision": seen.answer.decision, "reason": seen.answer.sentence}
            print_json({"key": seen.key, "scanned": seen.answer.scanned, "feed": feed, **said})
        elif seen.answer.decision is not Decision.CLEAN:
            click.echo(printable(f"{seen.answer.decision:<11} {seen.key}: {seen.answer.sentence}"))

    def _progress(self) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._shown < PROGRESS_SECONDS:
            return
        self._shown = now
        done = self._counts["pictures"]
        rate = done / (now - self._started)
        scanned = self._counts["scanned"]
        click.echo(f"\r{done} pictures, {scanned} scanned, {rate:.1f} a second", err=True, nl=False)

    def finish(self) -> None:
        """Print the sums."""
        seconds = time.monotonic() - self._started
        names = (
            "pictures",
            "scanned",
            "unreadable",
            "no-picture",
            *(str(decision) for decision in Decision),
        )
        counts = {name: self._counts[name] for name in names}
        if self._as_json:
            print_json({"summary": counts, "seconds": round(seconds, 3)})
            return
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        click.echo(f"{said or 'no pictures'} in {seconds:.1f} s")
