"""Draws a federation: instances, who sees whose posts, and which picture is met where and when.

Nothing here is measured traffic: there is none to be had. The shapes are those that measurements
of the fediverse and of web caches report, the numbers are chosen; both stand in `World` and in
docs/federation-figures.md. The same settings give the same world.

- Sizes of instances: Zipf by rank, exponent 1. (Raman et al., "Challenges in the Decentralised
  Web: The Mastodon Case", IMC 2019: the top 5 % of instances have 90.6 % of the users.)
- Who sees whose posts: the number of instances followed grows as size^0.6, so that degrees follow
  a power law; whom, in proportion to size.
- How far a post reaches, and how often it is boosted: Pareto, most of them hardly at all.
- Pictures: most posts bring a new one; the others bring one seen before, the very same bytes,
  Zipf-popular (exponent 0.8; Breslau et al., INFOCOM 1999, found 0.64 to 0.83 in web caches).
- A post arrives within seconds (log-normal), a boost within hours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class World:
    """What is drawn, and from which seed."""

    instances: int
    posts: int  # posts with a picture, of all instances together
    days: float = 7.0
    size_exponent: float = 1.0
    degree_exponent: float = 0.6
    least_followed: int = 8  # instances that the smallest one follows
    reach_exponent: float = 1.1  # of the Pareto law; larger is shorter-tailed
    least_reach: int = 2
    most_reach: int = 2_000
    boost_exponent: float = 1.5
    most_boosts: int = 200
    repost_share: float = 0.2
    repost_exponent: float = 0.8
    arrival_seconds: float = 3.0  # median, of a post at another instance
    arrival_spread: float = 1.5  # of the logarithm
    boost_seconds: float = 3_600.0  # median
    boost_spread: float = 1.5
    abusive_share: float = 0.01  # of the pictures
    seed: int = 1


@dataclass(frozen=True)
class Sightings:
    """The first meetings of an instance with a picture, in the order of their times."""

    when: Floats  # seconds
    instance: Ints
    picture: Ints
    origin: Ints  # the instance that serves the picture; itself for an upload
    abusive: NDArray[np.bool_]  # by picture
    again: int  # meetings of pictures that the instance had met before

    def __len__(self) -> int:
        return len(self.when)


def draw(world: World) -> Sightings:
    """Return every first sighting of a picture at an instance."""
    rng = np.random.default_rng(world.seed)
    sizes = (1 + np.arange(world.instances)) ** -world.size_exponent
    followers = _followers(world, sizes / sizes.sum(), rng)
    poster = rng.choice(world.instances, world.posts, p=sizes / sizes.sum())
    posted = np.sort(rng.uniform(0, world.days * DAY_SECONDS, world.posts))
    picture = _pictures(world, rng)
    everyone = np.arange(world.posts)
    post, instance = _reach(world, followers, everyone, poster, rng)
    arrives = posted[post] + _delay(rng, len(post), world.arrival_seconds, world.arrival_spread)
    boosts, booster, boosted = _boosts(world, posted, poster, post, instance, rng)
    which, later = _reach(world, followers, np.arange(len(boosts)), booster, rng)
    boost_arrives = boosted[which] + _delay(
        rng, len(which), world.arrival_seconds, world.arrival_spread
    )
    posts = np.concatenate([everyone, post, boosts[which]])
    abusive = rng.random(int(picture.max()) + 1) < world.abusive_share
    return _first(
        np.concatenate([posted, arrives, boost_arrives]),
        np.concatenate([poster, instance, later]),
        picture[posts],
        poster[posts],
        abusive,
    )


@dataclass(frozen=True)
class _Followers:
    """For each instance those that follow it, one after another, with running sums of size."""

    starts: Ints  # (n + 1,)
    instances: Ints
    running: Floats


def _followers(world: World, sizes: Floats, rng: np.random.Generator) -> _Followers:
    count = world.instances
    degree = world.least_followed * (sizes / sizes.min()) ** world.degree_exponent
    degree = np.clip(degree.astype(np.int64), 1, count - 1)
    follower = np.repeat(np.arange(count), degree)
    followed = np.concatenate([_chosen(i, int(degree[i]), sizes, rng) for i in range(count)])
    order = np.lexsort((follower, followed))
    follower, followed = follower[order], followed[order]
    starts = np.searchsorted(followed, np.arange(count + 1))
    return _Followers(starts, follower, np.concatenate([[0.0], np.cumsum(sizes[follower] ** 0.5)]))


def _chosen(instance: int, degree: int, sizes: Floats, rng: np.random.Generator) -> Ints:
    """Return whom an instance follows: without replacement, in proportion to size."""
    keys = rng.exponential(size=len(sizes)) / sizes  # Efraimidis and Spirakis, 2006
    keys[instance] = np.inf
    return np.argpartition(keys, degree - 1)[:degree] if degree < len(keys) else np.argsort(keys)


def _pictures(world: World, rng: np.random.Generator) -> Ints:
    """Return the picture of each post, numbered as they appear: new ones, and known ones again."""
    fresh = rng.random(world.posts) >= world.repost_share
    fresh[0] = True
    number = np.cumsum(fresh) - 1
    ranks = rng.random(world.posts)
    exponent = 1 - world.repost_exponent
    known = np.minimum((number + 1) * ranks ** (1 / exponent), number).astype(np.int64)
    shuffled = rng.permutation(world.posts)  # else the first pictures were the popular ones
    known = np.where(shuffled[known] <= number, shuffled[known], known)
    return np.where(fresh, number, known)


def _pareto(rng: np.random.Generator, exponent: float, size: int) -> Floats:
    """Return numbers from 1 up, of the Pareto law."""
    return np.asarray(rng.random(size) ** (-1 / exponent))


def _reach(
    world: World, followers: _Followers, post: Ints, at: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Return (post, instance) for the followers of each post's instance that it reaches."""
    degree = followers.starts[at + 1] - followers.starts[at]
    draws = world.least_reach * _pareto(rng, world.reach_exponent, len(post))
    draws = np.minimum(draws, np.minimum(world.most_reach, degree * 2)).astype(np.int64)
    post, at = np.repeat(post, draws), np.repeat(at, draws)
    low, high = (followers.running[followers.starts[at + end]] for end in (0, 1))
    place = np.searchsorted(followers.running, low + rng.random(len(at)) * (high - low), "right")
    instance = followers.instances[np.minimum(place, len(followers.instances)) - 1]
    pairs = np.unique(post * world.instances + instance)
    return pairs // world.instances, pairs % world.instances


def _boosts(
    world: World,
    posted: Floats,
    poster: Ints,
    post: Ints,
    instance: Ints,
    rng: np.random.Generator,
) -> tuple[Ints, Ints, Floats]:
    """Return of each boost its post, the instance that boosts, and when it does."""
    times = np.minimum(_pareto(rng, world.boost_exponent, world.posts), world.most_boosts)
    boosts = np.repeat(np.arange(world.posts), times.astype(np.int64) - 1)
    starts = np.searchsorted(post, np.arange(world.posts + 1))
    reached = np.diff(starts)[boosts]
    which = (rng.random(len(boosts)) * (reached + 1)).astype(np.int64)  # the last is the poster
    place = np.minimum(starts[boosts] + which, max(len(instance) - 1, 0))
    booster = np.where(which < reached, instance[place], poster[boosts])
    delay = _delay(rng, len(boosts), world.boost_seconds, world.boost_spread)
    return boosts, booster, posted[boosts] + delay


def _delay(rng: np.random.Generator, size: int, median: float, spread: float) -> Floats:
    return np.asarray(median * np.exp(spread * rng.standard_normal(size)))


def _first(
    when: Floats, instance: Ints, picture: Ints, origin: Ints, abusive: NDArray[np.bool_]
) -> Sightings:
    order = np.lexsort((instance, when))
    pairs = picture[order] * (int(instance.max()) + 1) + instance[order]
    first = np.sort(np.unique(pairs, return_index=True)[1])
    kept = order[first]
    return Sightings(
        when[kept], instance[kept], picture[kept], origin[kept], abusive, len(when) - len(kept)
    )
