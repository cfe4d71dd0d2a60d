"""What `scan` and `watch` say: a line for each object worth one, progress, and the sums."""

from collections import Counter

import click

from cache.memory.runs import Run
from cache.verdict import Decision
from fediverdict.cli.context import print_json, printable
from fediverdict.progress import Progress
from fediverdict.seen import FOUND, Seen

NAMES = ("pictures", "scanned", "unreadable", "no-picture", "inside", *map(str, Decision))


class Report:
    """Counts what was seen, says what was found, and shows progress on a terminal."""

    def __init__(self, as_json: bool, *, only_findings: bool = False) -> None:
        self._as_json, self._only_findings = as_json, only_findings
        self._counts: Counter[str] = Counter()
        self.progress = Progress("pictures")

    def add(self, seen: Seen, source: str | None = None) -> None:
        """Take one object; `source` is named where there are several."""
        self.progress.add()
        if seen.is_no_picture:
            self._counts["no-picture"] += 1
            return
        self._counts["pictures"] += 1
        if seen.answer is None:
            self._counts["unreadable"] += 1
            self.warn(f"{seen.key}: {seen.problem}")
            return
        self._counts[seen.answer.decision] += 1
        self._counts["scanned"] += seen.answer.scanned
        self._counts["inside"] += bool(seen.answer.inside)
        self._say(seen, source)

    def warn(self, sentence: str) -> None:
        """Say a sentence on standard error, beside the progress line."""
        self.progress.clear()
        click.echo(printable(sentence), err=True)

    def finish(self, run: Run, source: str, *, complete: bool, stopped: bool) -> None:
        """Print the sums, and how to go on."""
        self.progress.clear()
        counts = {name: self._counts[name] for name in NAMES}
        if self._as_json:
            state = "done" if complete else "stopped"
            about = {"run": run.id, "source": source, "state": state}
            print_json({"summary": counts, "seconds": round(self.progress.seconds, 3), **about})
            return
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        click.echo(f"{said or 'no pictures'} in {self.progress.seconds:.1f} s; run {run.id}")
        if not complete:
            why = "stopped" if stopped else "the limit is reached"
            again = "the same command without --all" if run.reads_all else "the same command"
            click.echo(printable(f"{why}; {again} goes on with run {run.id}"))
        elif any(self._counts[decision] for decision in FOUND) or self._counts["inside"]:
            click.echo(f"to act on what was found: fediverdict apply {run.id} --help")

    def _say(self, seen: Seen, source: str | None) -> None:
        answer = seen.answer
        if answer is None or (self._only_findings and not seen.is_finding):
            return
        if self._as_json:
            self.progress.clear()
            print_json(_line(seen) | ({"source": source} if source else {}))
        elif seen.is_finding or answer.decision is not Decision.CLEAN:
            self.progress.clear()
            where = f"{source}: {seen.key}" if source else seen.key
            inside = f" Inside: {', '.join(answer.inside)}." if answer.inside else ""
            click.echo(printable(f"{answer.decision:<11} {where}: {answer.sentence}{inside}"))


def _line(seen: Seen) -> dict[str, object]:
    """Return the JSON line of one object."""
    answer = seen.answer
    if answer is None:
        return {"key": seen.key, "problem": seen.problem}
    return {
        "key": seen.key,
        "size": seen.item.size,
        "sha256": seen.sha256.hex() if seen.sha256 else None,
        "scanned": answer.scanned,
        "feed": seen.feed.name.lower() if seen.feed else None,
        "decision": answer.decision,
        "reason": answer.sentence,
        "rules": list(answer.outcome.rules) if answer.outcome else [],
        "inside": list(answer.inside),
    }
