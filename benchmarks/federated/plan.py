"""Which runs are made, and which curves come of them.

Every run differs from `BASE` (the defaults of the config, peers that were trusted for long, ten of
them) in what its curve is about. All but the first curve are of `REFERENCE` instances.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.federated.deciding import Terms
from benchmarks.federated.simulate import Policy, Result, run
from benchmarks.federated.world import Sightings, World, draw

POSTS = {10: 4_000, 100: 12_000, 1_000: 30_000, 10_000: 90_000}
REFERENCE = 1_000
BASE = Policy()
TRUSTED = (0, 1, 2, 5, 10, 20, 50)
SEAL_SECONDS = (1, 10, 60, 300, 1_800, 7_200)
AUDIT_FLOORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
TAKING_PART = (0.05, 0.1, 0.2, 0.5, 1.0)
HOSTILE = (0.0, 0.01, 0.05, 0.2)
ASKED = "the origin is asked"
NO_AUDITS = Terms(audits=False)
NO_AUDITS_BOTH_ONE = Terms(clean_quorum=100, flag_quorum=100, audits=False)
BOTH_ONE, BOTH_TWO = Terms(100, 100), Terms(200, 200)


@dataclass(frozen=True)
class Run:
    """One run: the curve it belongs to, where it stands on it, and what is run."""

    figure: str
    line: str
    x: float
    world: World
    policy: Policy


def world_of(instances: int, scale: float = 1.0) -> World:
    """Return the world of so many instances; `scale` shrinks the number of posts."""
    nearest = min(POSTS, key=lambda known: abs(known - instances))
    return World(instances, max(50, int(POSTS[nearest] * scale)))


def plan(sizes: Sequence[int], scale: float = 1.0) -> list[Run]:
    """Return every run; the reference is `REFERENCE`, or the largest size under it."""
    under = [size for size in sizes if size <= REFERENCE] or [min(sizes)]
    world = world_of(max(under), scale)
    return [
        *_by_size(sizes, scale),
        *_choice(world),
        *_delay(world),
        *_audits(world),
        *_taking_part(world),
        *_hostile(world),
        *_sensitivity(world),
    ]


def _by_size(sizes: Sequence[int], scale: float) -> Iterable[Run]:
    for size in sizes:
        world = world_of(size, scale)
        for trusted in TRUSTED:
            if trusted < size:
                policy = replace(BASE, trusted=trusted)
                yield Run("peers", f"{size:,} instances", trusted, world, policy)


def _choice(world: World) -> Iterable[Run]:
    changes: dict[str, dict[str, object]] = {
        "peers seen most": {},
        "peers seen most, clean_quorum 2.0": {"terms": Terms(200, 200)},
        "random peers": {"picks": "random"},
    }
    for line, change in changes.items():
        for trusted in TRUSTED:
            if trusted < world.instances:
                policy = replace(BASE, trusted=trusted, **change)  # type: ignore[arg-type]
                yield Run("choice", line, trusted, world, policy)


def _delay(world: World) -> Iterable[Run]:
    alone = replace(BASE, ask_origin=False, grace_seconds=0.0)
    slow = replace(world, arrival_seconds=60.0)
    for seconds in SEAL_SECONDS:
        for line, where, policy in (
            (ASKED, world, replace(alone, ask_origin=True)),
            ("pages, with 90 s of grace", world, replace(alone, grace_seconds=90.0)),
            ("pages alone, pictures after 60 s", slow, alone),
            ("pages alone, pictures after 3 s", world, alone),
        ):
            yield Run("delay", line, seconds, where, replace(policy, seal_seconds=float(seconds)))


def _audits(world: World) -> Iterable[Run]:
    off = replace(BASE, terms=NO_AUDITS, audit_floor=0.0)
    for line, compared in (("peers compared 2,000 times", BASE.compared), ("new peers", 0)):
        yield Run("audits", line, 0.0, world, replace(off, compared=compared))
        for floor in AUDIT_FLOORS:
            policy = replace(BASE, audit_floor=floor, compared=compared)
            yield Run("audits", line, 100 * floor, world, policy)


def _taking_part(world: World) -> Iterable[Run]:
    for share in TAKING_PART:
        policy = replace(BASE, taking_part=share)
        yield Run("taking part", "all pictures", 100 * share, world, policy)


def _hostile(world: World) -> Iterable[Run]:
    off = replace(BASE, terms=NO_AUDITS_BOTH_ONE, audit_floor=0.0, demotes=False)
    lines = {
        "no audits, quorums 1.0": off,
        "veterans, quorums 1.0": replace(BASE, terms=BOTH_ONE),
        "new peers, quorums 1.0": replace(BASE, terms=BOTH_ONE, compared=0),
        "veterans, quorums 2.0": replace(BASE, terms=BOTH_TWO),
        "new peers, quorums 2.0": replace(BASE, terms=BOTH_TWO, compared=0),
    }
    for line, policy in lines.items():
        for share in HOSTILE:
            yield Run("hostile", line, 100 * share, world, replace(policy, hostile_share=share))


def _sensitivity(world: World) -> Iterable[Run]:
    changes: dict[str, World] = {
        "no picture is posted twice": replace(world, repost_share=0.0),
        "half of the posts repeat a picture": replace(world, repost_share=0.5),
        "no boosts": replace(world, most_boosts=1),
        "posts reach fewer (exponent 1.6)": replace(world, reach_exponent=1.6),
        "instances of one size": replace(world, size_exponent=0.0),
        "another seed": replace(world, seed=2),
    }
    for line, other in changes.items():
        yield Run("sensitivity", line, BASE.trusted, other, BASE)


@lru_cache(maxsize=1)
def _drawn(world: World) -> Sightings:
    return draw(world)


def perform(one: Run) -> Result:
    """Perform one run."""
    return run(_drawn(one.world), one.world.instances, one.policy)


def perform_all(
    runs: Sequence[Run], processes: int, tell: Callable[[Run, Result], None]
) -> list[Result]:
    """Perform the runs, equal ones once; their results do not depend on the processes.

    The largest come first, and those of one world together.
    """
    distinct = {(one.world, one.policy): one for one in reversed(runs)}
    order = sorted(distinct.values(), key=lambda one: (-one.world.instances, repr(one.world)))
    results: dict[tuple[World, Policy], Result] = {}
    with ProcessPoolExecutor(processes) as pool:
        for one, result in zip(order, pool.map(perform, order), strict=True):
            results[one.world, one.policy] = result
            tell(one, result)
    return [results[one.world, one.policy] for one in runs]
