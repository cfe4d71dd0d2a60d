"""Decides which of our pictures stand in the near-match index, and by which code.

Also which of our verdicts end with a change of rules or thresholds. Every function that writes
wants a write transaction; when to settle is left to `record`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from cache.judgement import Judgement, PipelineState, label_truth
from cache.memory.codes import Code, code_of, set_codes
from cache.memory.lookup_many import findings_of_images, verdicts_of_images
from cache.rules import Rule
from cache.storage.rows import batches
from cache.storage.tables import images, pipelines, verdicts
from cache.verdict import Feed, Finding, FindingMatch, Verdict
from cache.weigh import flagged_rules


def settle(
    connection: Connection, issuer_id: int, image_ids: Iterable[int], judgement: Judgement
) -> None:
    """Let the codes of these pictures of ours stand in the near-match index, or withdraw them."""
    for some in batches(sorted(set(image_ids))):
        own = verdicts_of_images(connection, some, issuer_id)
        found = findings_of_images(connection, some)
        naming = {
            image_id: _naming(own.get(image_id, ()), found.get(image_id, ()), judgement)
            for image_id in some
            if bears_code(own.get(image_id, ()), found.get(image_id, ()), judgement)
        }
        none: dict[int, Code | None] = dict.fromkeys(some)
        set_codes(connection, issuer_id, none | _codes_of(connection, naming))


def _codes_of(
    connection: Connection, naming: Mapping[int, Sequence[Verdict]]
) -> dict[int, Code | None]:
    """Return the codes that our own fingerprints give pictures (no more than one IN list)."""
    if not naming:
        return {}
    rows = connection.execute(
        select(images.c.id, images.c.pdq, images.c.pdq_quality, images.c.phash).where(
            images.c.id.in_(list(naming))
        )
    )
    return {
        image_id: _code(pdq, quality, phash, naming[image_id])
        for image_id, pdq, quality, phash in rows
    }


def _naming(
    own: Iterable[Verdict], found: Iterable[FindingMatch], judgement: Judgement
) -> list[Verdict]:
    """Return the verdicts that may say which frame a code is of: those that flag.

    All that are not in shadow, where a person alone does.
    """
    counted = _counted(own, judgement)
    rules = _not_dismissed(found, judgement)
    return [one for one in counted if flagged_rules(one, rules, judgement)] or counted


def _code(
    pdq: bytes | None, quality: int | None, phash: bytes | None, naming: Sequence[Verdict]
) -> Code | None:
    """Return a picture's code: for an animation that of the frame that the newest verdict names.

    A verdict names none where the first frame is the bad one.
    """
    newest = max(naming, key=lambda verdict: verdict.issued, default=None)
    if newest is None or newest.pdq in (None, pdq):
        return code_of(pdq, quality, phash)
    return code_of(newest.pdq, newest.pdq_quality)


def bears_code(own: Iterable[Verdict], found: Iterable[FindingMatch], judgement: Judgement) -> bool:
    """Tell whether a picture of ours is flagged, upheld or under review.

    Expired and retired flags count (design, "Deciding", step 4), those in shadow do not, and a
    person's dismissal takes its rule away.
    """
    newest = list(found)
    if any(finding.finding is not Finding.DISMISSED for finding in newest):
        return True
    rules = _not_dismissed(newest, judgement)
    return any(flagged_rules(one, rules, judgement) for one in _counted(own, judgement))


def _counted(own: Iterable[Verdict], judgement: Judgement) -> list[Verdict]:
    """Return our verdicts by pipelines that are known and not in shadow."""
    return [
        verdict
        for verdict in own
        if (terms := judgement.terms(verdict)) and terms.state is not PipelineState.SHADOW
    ]


def _not_dismissed(found: Iterable[FindingMatch], judgement: Judgement) -> dict[str, Rule]:
    dismissed = {one.rule for one in found if one.finding is Finding.DISMISSED}
    return {name: rule for name, rule in judgement.rules.items() if name not in dismissed}


def end_what_was_left_early(connection: Connection, judgement: Judgement, *, now: int) -> None:
    """End our verdicts that saw a part of a film and flag it no more.

    Such a film may have been left at its first bad frame: nobody has looked at the others.
    """
    rows = connection.execute(
        select(verdicts.c.id, verdicts.c.scores, pipelines.c.digest)
        .join(pipelines, pipelines.c.id == verdicts.c.pipeline_id)
        .where(
            verdicts.c.feed == int(Feed.OWN),
            verdicts.c.frames_seen < verdicts.c.frames_total,
            verdicts.c.expires > now,
        )
    ).all()
    ended = [row.id for row in rows if _is_false(row.scores, row.digest.hex(), judgement)]
    for some in batches(ended):
        connection.execute(verdicts.update().where(verdicts.c.id.in_(some)).values(expires=now))


def _is_false(scores: str, pipeline: str, judgement: Judgement) -> bool:
    """Tell whether stored scores break none of our rules."""
    terms, plain = judgement.pipelines.get(pipeline), json.loads(scores)
    return terms is not None and not any(
        rule.truth(lambda label: label_truth(plain, terms, label))
        for rule in judgement.rules.values()
    )
