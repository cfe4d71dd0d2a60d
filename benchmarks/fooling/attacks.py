"""Wrong clean by reuse: a picture known clean here, changed by whoever wants it answered unscanned.

Every file goes the real way (decoder process, look-up, `decide`) under each setting of
`decide.near_clean`, with the clean picture known by our own verdict or by a trusted peer's.
Audits are off here: they scan a quarter of what near clean lets through, and the goal must hold
without them. `wrong` is a file that was answered clean unscanned while viewers see something else
than the known picture. What the attackers of `adaptive` reach is measured beside it.
"""

import asyncio
import hashlib
import multiprocessing
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import migrations
from benchmarks.fooling import adaptive, docs
from benchmarks.fooling.files import ATTACKS, COPIES, Attack, known_file
from benchmarks.fooling.pictures import Photo, distinct, told
from benchmarks.fooling.seen import Scan, is_changed
from benchmarks.fooling.suite import Suite, Table
from benchmarks.fooling.transforms import encoded
from benchmarks.report import Row, note
from benchmarks.scan.trusted_peer import let_peer_judge
from cache.index.printed import PrintedIndex
from cache.index.twins import MIN_QUALITY, PrintedTwins
from cache.judgement import NearClean
from cache.outcome import Reason
from cache.storage.database import Store
from cache.verdict import Decision
from fediverdict.config import Config
from fediverdict.judge import Judge
from fediverdict.look import Look
from fediverdict.parts import build_judge
from scanner.testpatterns import draw_pattern

PICTURES, CANDIDATES = 24, 40
SIDE = 640
"""Pixels of the long side of an attacked picture."""
PROCESSES = 2
IN_FLIGHT = 8
QUALITIES = range(75, 95, 2)
"""Of the JPEGs that whoever throws the audit dice again and again sends."""


@dataclass(frozen=True, slots=True)
class File:
    """One attacked picture: by what, its bytes, and whether viewers see something else in it."""

    attack: str
    data: bytes
    is_wrong: bool  # to be answered clean unscanned
    is_flagged: bool  # by the scanner, if it were asked


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run an instance."""

    name: str
    near_clean: NearClean
    by_peer: bool  # the clean picture is known by a peer's verdict, not by our own
    compares: bool = True  # sketches; without, as it was first designed
    audit: str = "off"

    @property
    def config(self) -> Config:
        """The config of the instance."""
        return Config.model_validate(
            {"decide": {"near_clean": self.near_clean.value}, "trust": {"audit": self.audit}}
        )


UNSKETCHED = "peers without sketches, as first designed"
SETTINGS = [
    Setting("off, own", NearClean.OFF, by_peer=False),
    Setting("off, peer's", NearClean.OFF, by_peer=True),
    Setting("own, own", NearClean.OWN, by_peer=False),
    Setting("own, peer's", NearClean.OWN, by_peer=True),
    Setting("peers, own", NearClean.PEERS, by_peer=False),
    Setting("peers, peer's", NearClean.PEERS, by_peer=True),
    Setting(UNSKETCHED, NearClean.PEERS, by_peer=True, compares=False),
]


def main() -> int:
    """Measure, print, write benchmarks/results/judgement_fooling.json; 1 if a goal is missed.

    The table of docs/near-clean.md is written as well.
    """
    with multiprocessing.get_context("forkserver").Pool(PROCESSES) as pool:
        photos = _known(distinct(CANDIDATES))
        note(f"attacking {len(photos)} of them, {len(ATTACKS)} ways")
        made = pool.starmap(_files_of, enumerate(photos), chunksize=1)
    files = [file for some in made for file in some]
    suite = Suite("judgement_fooling", {"pictures": told(photos), "files": len(files)})
    passed = {one.name: asyncio.run(_passed(one, photos, files)) for one in SETTINGS}
    by_attack, totals = _tables(files, passed)
    suite.tables += [by_attack, totals, asyncio.run(_audits(photos)), *adaptive.tables(photos)]
    for name, row in totals.rows.items():
        goal = None if name == UNSKETCHED else 0
        suite.add(Row(f"wrong clean, {name}", row[0], "", goal, "at most"))
    suite.add(Row("attacked pictures", len([f for f in files if f.is_wrong]), "", 500))
    code = suite.finish()
    docs.write()
    return code


def _known(photos: Sequence[Photo]) -> list[Photo]:
    """Return photos that near clean may reuse and the scanner does not flag, reduced."""
    scan, found = _scan(), list[Photo]()
    for photo in photos:
        small = photo.image.copy()
        small.thumbnail((SIDE, SIDE))
        if photo.hashes.quality >= MIN_QUALITY and not scan.flags(known_file(small)):
            found.append(Photo(photo.package, photo.name, small, photo.hashes, photo.grey))
    return found[:PICTURES]


def _files_of(number: int, photo: Photo) -> list[File]:
    """Return all files made of one photo; runs in a process of its own."""
    scan = _scan()
    bad = draw_pattern(number, photo.image.size)
    known = known_file(photo.image)
    return [_file(attack, photo, bad, known, scan) for attack in [*COPIES, *ATTACKS]]


@cache
def _scan() -> Scan:
    return Scan()


def _file(attack: Attack, photo: Photo, bad: object, known: bytes, scan: Scan) -> File:
    data = attack.make(photo.image, bad, known)  # type: ignore[arg-type]
    wrong = not attack.is_copy and is_changed(known, data)
    return File(attack.name, data, wrong, scan.flags(data))


async def _passed(setting: Setting, photos: Sequence[Photo], files: Sequence[File]) -> list[bool]:
    """Tell of each file whether it is answered clean unscanned."""
    note(f"  near_clean = {setting.name} verdict")
    async with _instance(setting, photos) as judge:
        places = asyncio.Semaphore(IN_FLIGHT)
        looks = await asyncio.gather(*(_look(judge, file.data, places) for file in files))
    return [look is not None and look.outcome.decision is Decision.CLEAN for look in looks]


@asynccontextmanager
async def _instance(setting: Setting, photos: Sequence[Photo]) -> AsyncIterator[Judge]:
    """Give the judge of a fresh instance that knows the photos to be clean."""
    known = [known_file(photo.image) for photo in photos]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'db.sqlite3'}"
        migrations.upgrade(url)
        store = Store.open(url)
        if setting.by_peer:  # before the judge is there: it reads of trust once a second
            let_peer_judge(store, [hashlib.sha256(data).digest() for data in known])
        judge = build_judge(setting.config, store, purpose="scan")
        if not setting.compares:
            twins = PrintedTwins(PrintedIndex(), setting.near_clean, lambda _, __: True)
            judge._twins = twins  # noqa: SLF001  not a setting
        try:
            await _learn(setting, judge, known)
            yield judge
        finally:
            judge.close()
            store.close()


async def _learn(setting: Setting, judge: Judge, known: Sequence[bytes]) -> None:
    """Let the clean pictures be met, and known in the way that the setting says."""
    answers = [await judge.judge(data) for data in known]
    if any(one.decision is not Decision.CLEAN or one.scanned is setting.by_peer for one in answers):
        raise RuntimeError(f"{setting.name}: the clean pictures are not known as they should be")


async def _look(judge: Judge, data: bytes, places: asyncio.Semaphore) -> Look | None:
    async with places:
        look = await judge.look(data, hashlib.sha256(data).digest())
    return look if isinstance(look, Look) else None


async def _audits(photos: Sequence[Photo]) -> Table:
    """Return how the audit throw falls for many copies of each picture, with audits on."""
    note("  audit throws of copies")
    copies = [[encoded(p.image, "JPEG", quality=q) for q in QUALITIES] for p in photos]
    setting = Setting("own with audits", NearClean.OWN, by_peer=False, audit="adaptive")
    alike, audited, falls = 0, 0, 0
    async with _instance(setting, photos) as judge:
        places = asyncio.Semaphore(IN_FLIGHT)
        for some in copies:
            looks = await asyncio.gather(*(_look(judge, data, places) for data in some))
            reasons = [look.outcome.reason for look in looks if look is not None]
            throws = [one for one in reasons if one in (Reason.AUDIT, Reason.NEAR_CLEAN)]
            alike += len(set(throws)) == 1
            falls += bool(throws)
            audited += Reason.AUDIT in throws
    columns = ["pictures with twins", "audited", "all copies fall alike"]
    title = f"Audit throws with `own`, {len(QUALITIES)} copies of each picture"
    return Table(title, columns, {"pictures": [falls, audited, alike]})


def _tables(files: Sequence[File], passed: dict[str, list[bool]]) -> tuple[Table, Table]:
    """Return the share of each attack that passes under each setting, and the sums."""
    title = "Answered clean unscanned, % of the files of an attack, by setting and whose verdict"
    by_attack = Table(title, ["files", "flagged if scanned", *passed])
    for attack in [*COPIES, *ATTACKS]:
        those = [n for n, f in enumerate(files) if f.attack == attack.name and _counts(attack, f)]
        flagged = sum(files[n].is_flagged for n in those)
        shares = [100 * sum(p[n] for n in those) / max(len(those), 1) for p in passed.values()]
        by_attack.rows[attack.name] = [len(those), flagged, *shares]
    columns = ["wrong clean", "% of attacked", "wrong clean, flagged if scanned"]
    totals = Table("Wrong clean by reuse, all attacks together, no audits", columns)
    attacked = [n for n, file in enumerate(files) if file.is_wrong]
    for name, found in passed.items():
        wrong = [n for n in attacked if found[n]]
        bad = sum(files[n].is_flagged for n in wrong)
        totals.rows[name] = [len(wrong), 100 * len(wrong) / max(len(attacked), 1), bad]
    return by_attack, totals


def _counts(attack: Attack, file: File) -> bool:
    """Leave out files that an attack did not change to the eye, as white text on white."""
    return attack.is_copy or file.is_wrong
