"""What the demo measured: the JSON object, the words for people, and what went wrong."""

import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

from fediverdict.demo.pictures import Group
from fediverdict.demo.run import Asked, Demo


def as_json(demo: Demo) -> dict[str, Any]:
    """Return the sums of the demo; seconds are medians of what beta measured itself."""
    asked = demo.asked
    scan = median_seconds(one for one in asked if one.answer["scanned"])
    reuse = median_seconds(one for one in asked if is_reused(one))
    return {
        "pictures": len(demo.shown),
        "alpha": {"scanned": demo.alpha_scanned},
        "beta": {
            "asked": len(asked),
            "scanned": sum(one.answer["scanned"] for one in asked),
            "reused_exact": _reused(asked, "exact"),
            "reused_content": _reused(asked, "content"),
            "review_near": _near(asked),
            "flagged": _decided(asked, "flagged"),
            "undecodable": _decided(asked, "undecodable"),
        },
        "wrong_clean": sum(one.wrong_clean for one in asked),
        "seconds_per_scan": scan,
        "seconds_per_reuse": reuse,
        "ratio": round(scan / reuse, 1) if reuse else None,
    }


def is_reused(one: Asked) -> bool:
    """Tell whether alpha's verdict answered for the very same picture, without a scan."""
    kind = one.answer["match"]["kind"]
    peers = [source for source in one.answer["sources"] if source["issuer"] != "self"]
    return not one.answer["scanned"] and bool(peers) and kind in ("exact", "content")


def median_seconds(asked: Iterable[Asked]) -> float:
    """Return the median time beta took, in seconds; 0.0 for none."""
    times = [one.answer["elapsed_ms"] / 1000 for one in asked]
    return round(statistics.median(times), 6) if times else 0.0


def problems(demo: Demo) -> list[str]:
    """Return what the demo promised and did not keep; an empty list is a good demo."""
    found = [f"a test pattern was answered clean: {_name(o)}" for o in demo.asked if o.wrong_clean]
    if not demo.in_clean_feed:
        found.append("alpha's clean feed is empty, so nothing could be reused")
    for one in demo.asked:
        if _was_clean(demo, one) and not _is_clean_unscanned(one):
            found.append(f"alpha's clean verdict was not reused for {_name(one)}")
        if one.question.group is Group.BROKEN and one.answer["decision"] != "undecodable":
            found.append(f"a broken file was not undecodable: {_name(one)}")
    return found


def lines(demo: Demo) -> list[str]:
    """Return the story's end for people: a table of groups, and what reuse saved."""
    said = [f"{'beta was asked for':<42} {'asked':>5} {'reused':>6} {'scanned':>7}  decisions"]
    said += [_group_line(group, demo.asked) for group in Group]
    sums = as_json(demo)
    said += ["", *_scanned_why(demo), ""]
    said.append(_saving(demo))
    said.append(f"test patterns answered clean: {sums['wrong_clean']} (must be 0)")
    return said


def _saving(demo: Demo) -> str:
    """Return what the two kinds of reuse cost beside a scan (medians of what beta measured)."""
    scan = median_seconds(one for one in demo.asked if one.answer["scanned"]) * 1000
    first, again = (
        median_seconds(o for o in demo.asked if is_reused(o) and o.question.group is group) * 1000
        for group in (Group.SAME, Group.AGAIN)
    )
    return (
        f"a scan by the tiny model took {scan:.1f} ms, a first reuse {first:.1f} ms (the picture "
        f"is decoded once,\nso that a near match to a flagged one still counts), a later one "
        f"{again:.2f} ms (medians)"
    )


def _group_line(group: Group, every: list[Asked]) -> str:
    asked = [one for one in every if one.question.group is group]
    scanned = sum(one.answer["scanned"] for one in asked)
    reused = sum(is_reused(one) for one in asked)
    counts = Counter(one.answer["decision"] for one in asked)
    decisions = ", ".join(f"{count} {decision}" for decision, count in counts.most_common())
    return f"{group:<42} {len(asked):>5} {reused:>6} {scanned:>7}  {decisions}"


def _scanned_why(demo: Demo) -> list[str]:
    scanned = [one for one in demo.asked if one.answer["scanned"]]
    why = Counter((one.question.group, one.question.picture.is_pattern) for one in scanned)
    return [
        f"scanned {count} {'showing a test pattern' if pattern else 'harmless'}: {WHY[group]}"
        for (group, pattern), count in why.items()
    ]


WHY = {
    Group.BEFORE: "near a flag but not near enough for one",
    Group.SAME: "the same bytes, but alpha's verdict stands in neither feed",
    Group.AGAIN: "the same bytes, but alpha's verdict stands in neither feed",
    Group.REWRAP: "the same content, but alpha's verdict stands in neither feed",
    Group.COPY: "changed with loss: near matches never make a picture clean",
    Group.NEW: "alpha never saw them",
    Group.BROKEN: "broken files cannot be scanned",
}


def _was_clean(demo: Demo, one: Asked) -> bool:
    whole = one.question.group in (Group.SAME, Group.AGAIN, Group.REWRAP)
    return whole and one.question.original in demo.in_clean_feed


def _is_clean_unscanned(one: Asked) -> bool:
    return one.answer["decision"] == "clean" and not one.answer["scanned"]


def _reused(asked: Iterable[Asked], kind: str) -> int:
    return sum(is_reused(one) and one.answer["match"]["kind"] == kind for one in asked)


def _near(asked: Iterable[Asked]) -> int:
    return sum(
        one.answer["decision"] == "review" and one.answer["match"]["kind"] == "near"
        for one in asked
    )


def _decided(asked: Iterable[Asked], decision: str) -> int:
    return sum(one.answer["decision"] == decision for one in asked)


def _name(one: Asked) -> str:
    return f"{one.question.picture.name} ({one.question.group})"
