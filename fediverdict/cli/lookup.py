"""`fediverdict lookup` and `explain`: what is known of pictures, without scanning any."""

import asyncio
import re
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from cache.judgement import Judgement
from cache.standing import counts_as
from cache.verdict import SELF, Decision, FindingMatch, Match
from fediverdict.answers import answer_json
from fediverdict.api import LookupItem
from fediverdict.cli.context import (
    Context,
    json_option,
    pass_context,
    print_json,
    print_table,
    printable,
)
from fediverdict.config import Config
from fediverdict.errors import UsageError, UserError
from fediverdict.judge import Answer, Judge, Look
from fediverdict.judgement import Judgements
from fediverdict.parts import build_judge
from scanner.classifiers.engine import is_installed
from scanner.decoding.fingerprint import sha256_of
from scanner.policy import load_policy

FOUND = frozenset({Decision.FLAGGED, Decision.REVIEW})
SHA256 = re.compile(r"[0-9a-f]{64}")


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@json_option
@pass_context
def lookup(context: Context, pictures: tuple[str, ...], as_json: bool) -> int:
    """Say what this instance makes of each PICTURE (a file, or a SHA-256 in hex) without a scan.

    Ends with 1 when one is flagged or up for review.
    """
    answers = _answers(context, pictures)
    if as_json:
        for name, answer in answers:
            print_json({"picture": name, **answer_json(answer, show_distance=True)})
    else:
        print_table(
            ("decision", "match", "picture", "why"),
            [(a.decision, _kind(a), name, a.sentence) for name, a in answers],
        )
    return int(any(answer.decision in FOUND for _, answer in answers))


@click.command()
@click.argument("picture")
@json_option
@pass_context
def explain(context: Context, picture: str, as_json: bool) -> int:
    """Say why this instance decides as it does about PICTURE (a file, or a SHA-256 in hex)."""
    [(name, answer)] = _answers(context, [picture])
    judgement = context.store.read_now(_judgements(context.config).current)
    if as_json:
        print_json({"picture": name, **_explained(answer, judgement)})
    else:
        _print_explained(name, answer, judgement)
    return int(answer.decision in FOUND)


def _judgements(config: Config) -> Judgements:
    policy = load_policy(config.scanner.policy)
    has_scanner = config.scanner.enabled and is_installed(config.scanner, policy)
    return Judgements(config, policy, has_scanner=has_scanner)


def _answers(context: Context, pictures: Iterable[str]) -> list[tuple[str, Answer]]:
    return asyncio.run(_all_answers(context, pictures))


async def _all_answers(context: Context, pictures: Iterable[str]) -> list[tuple[str, Answer]]:
    judge = build_judge(context.config, context.store, can_scan=False)
    with closing(judge):
        return [(name, await _answer(judge, name)) for name in pictures]


async def _answer(judge: Judge, picture: str) -> Answer:
    if SHA256.fullmatch(picture.lower()):
        look: Look | Answer = await judge.look_up(LookupItem(bytes.fromhex(picture)))
    else:
        data = read_picture(Path(picture), judge.limits.image_bytes)
        look = await judge.look(data, sha256_of(data))
    answer = look if isinstance(look, Answer) else look.answer()
    return answer.named(None if SHA256.fullmatch(picture.lower()) else picture)


def read_picture(path: Path, limit_bytes: int) -> bytes:
    """Return a file's bytes, at most one more than the limit; raises UserError."""
    try:
        if not path.is_file():
            path.stat()
            raise UsageError(f"{path} is no file; `fediverdict scan` takes folders")
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}, and it is no hash of 64 hex digits") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _kind(answer: Answer) -> str:
    return str(answer.outcome.kind) if answer.outcome else "none"


def _matches(answer: Answer) -> tuple[Match, ...]:
    return (*answer.evidence.matches, *answer.evidence.twins)


def _explained(answer: Answer, judgement: Judgement) -> dict[str, Any]:
    made_by = answer.outcome.matches if answer.outcome else ()
    matches = [
        _match_json(match)
        | {
            "counts_as": counts_as(match, judgement, now=int(time.time())),
            "decided": match in made_by,
        }
        for match in _matches(answer)
    ]
    findings = [_finding_json(found) for found in answer.evidence.findings]
    shown = answer_json(answer, show_distance=True)
    return {**shown, "verdicts": matches, "findings": findings}


def _match_json(match: Match) -> dict[str, Any]:
    verdict = match.verdict
    return {
        "issuer": verdict.issuer,
        "match": {"kind": match.kind, "distance": match.distance},
        "sha256": verdict.sha256.hex(),
        "feed": verdict.feed.name.lower(),
        "basis": verdict.basis.name.lower(),
        "pipeline": verdict.pipeline,
        "scores": dict(verdict.scores),
        "rule": verdict.rule,
        "finding": verdict.finding,
        "issued": verdict.issued,
        "expires": verdict.expires,
    }


def _finding_json(found: FindingMatch) -> dict[str, Any]:
    return {
        "match": {"kind": found.kind, "distance": found.distance},
        "rule": found.rule,
        "finding": found.finding,
        "decided": found.decided,
        "decided_by": found.decided_by,
        "reason": found.reason,
    }


def _print_explained(name: str, answer: Answer, judgement: Judgement) -> None:
    click.echo(f"{printable(name)}: {answer.decision}\n{printable(answer.sentence)}")
    if answer.outcome is not None:
        click.echo(f"reason {answer.outcome.reason}")
    if answer.fingerprint is not None:
        click.echo(f"sha256 {answer.fingerprint.sha256.hex()}")
    matches, findings = _matches(answer), answer.evidence.findings
    if not matches and not findings:
        click.echo("no verdict is held on it or on a picture near it")
        return
    rows = [_match_row(match, judgement) for match in matches] + list(map(_finding_row, findings))
    print_table(("issuer", "match", "bits", "says", "issued", "expires", "counts as"), rows)


def _match_row(match: Match, judgement: Judgement) -> tuple[object, ...]:
    verdict, now = match.verdict, int(time.time())
    scores = " ".join(f"{label}={score}" for label, score in sorted(verdict.scores.items()))
    says = scores or f"{verdict.rule} {verdict.finding}"
    issuer = "this instance" if verdict.issuer == SELF else verdict.issuer
    days = (_day(verdict.issued), _day(verdict.expires))
    return issuer, match.kind, match.distance, says, *days, counts_as(match, judgement, now=now)


def _finding_row(found: FindingMatch) -> tuple[object, ...]:
    says = f"{found.rule} {found.finding}: {found.reason}"
    by, decided = f"{found.decided_by} (here)", _day(found.decided)
    return by, found.kind, found.distance, says, decided, "-", "a person's finding"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
