"""Two instances in processes of their own, and all that can happen to them, until they agree.

Many verdicts cross while the wire between them is cut, either is killed in the middle of a page,
and either comes back from an old backup. An hour is simulated: every wait of federation is set to
a thousandth of what it is by default, so that what takes an hour takes four seconds.
"""

import hashlib
import shutil
import signal
import time

import pytest
from sqlalchemy import insert, select, text, update

from cache.memory.record import pipeline_row
from cache.storage.database import Store, make_engine
from cache.storage.feed_tables import feed_rows
from cache.verdict import Basis, Feed
from fediverdict.config import load_config
from fediverdict.demo.instance import Instance, free_port
from tests.e2e.conftest import LOOPBACK, NO_SCANNER
from tests.fakes.wire import Wire
from tests.federation.samples import DESCRIPTION
from tests.waiting import wait_until

HOUR_SECONDS = 4
QUICK = LOOPBACK.replace(
    "[feed]",
    "retry_seconds_max = 43\nhost_rest_seconds = 2\nhost_failures_seconds = 30\n"
    "breaker_seconds = 1\nbreaker_seconds_max = 4\nkey_refetch_seconds = 1\n"
    "heads_seconds = 4\nconnections_per_host = 8\n"
    "activities_per_minute = 10000\n[feed]",
)
FEW, MANY = 3_000, 100_000
WAIT_SECONDS = 300


class Apart(Instance):
    """An instance whose public port is a wire to the port it listens on."""

    inner: int
    wire: Wire

    @classmethod
    def create(cls, name, folder, settings):
        instance = super().create(name, folder, settings)
        instance.inner = free_port()
        config = instance.config.read_text("utf-8")
        port = f"port = {instance.port}\n"
        assert port in config
        instance.config.write_text(config.replace(port, f"port = {instance.inner}\n"), "utf-8")
        instance.wire = Wire(instance.port, instance.inner)
        return instance

    def kill(self):
        self.stop(signal.SIGKILL)

    def store(self):
        return Store.open(load_config(self.config, {}).database.url)

    def query(self, sql):
        engine = make_engine(load_config(self.config, {}).database.url)
        with engine.connect() as database:
            found = database.execute(text(sql)).all()
        engine.dispose()
        return found

    def copy(self, name):
        """Return a copy of the whole folder, taken while nothing runs."""
        self.stop()
        copy = self.folder.with_name(name)
        shutil.copytree(self.folder, copy)
        self.start()
        return copy

    def restore(self, copy, *, with_state=False):
        """Put an older database in the place of what is here; a backup is of the database alone."""
        self.kill()
        for file in self.folder.glob("*.sqlite3*"):
            file.unlink()
        for file in copy.glob("*.sqlite3*"):
            shutil.copy(file, self.folder)
        if with_state:
            shutil.copytree(copy / "state", self.folder / "state", dirs_exist_ok=True)
        self.start()


@pytest.fixture
def apart(tmp_path):
    made = []

    def make(name, settings=""):
        made.append(Apart.create(name, tmp_path / name, QUICK + NO_SCANNER + settings))
        return made[-1]

    yield make
    for instance in made:
        instance.stop()
        instance.wire.close()


def add_verdicts(instance, first, count, feed=Feed.CLEAN):
    """Append verdicts on pictures numbered from `first` to a feed, as a scan of them would."""
    store = instance.store()
    store.write_now(_append, feed, range(first, first + count))
    store.close()


def _append(conn, feed, numbers):
    now = int(time.time())
    common = {
        "feed": int(feed),
        "op": 0,
        "pipeline_id": pipeline_row(conn, DESCRIPTION),
        "basis": int(Basis.MODEL),
        "scores": '{"minor":1,"sexual":12}',
        "issued": now,
        "expires": now + 30 * 86_400,
        "added": now,
    }
    conn.execute(insert(feed_rows), [common | {"sha256": picture(n)} for n in numbers])


def take_back(instance, every):
    """Retract every so-many-th row that stands."""
    store = instance.store()
    store.write_now(_retract, every)
    store.close()


def _retract(conn, every):
    stands = (feed_rows.c.op == 0) & feed_rows.c.live & (feed_rows.c.id % every == 0)
    columns = [c for c in feed_rows.c if c.name not in ("id", "target_id", "op", "live")]
    kept = [c for c in columns if c.name not in ("epoch", "page", "seq")]
    rows = conn.execute(select(feed_rows.c.id, *kept).where(stands)).mappings().all()
    back = [{**row, "op": 1, "target_id": row["id"], "live": False} for row in rows]
    for row in back:
        del row["id"]
    conn.execute(insert(feed_rows), back)
    conn.execute(update(feed_rows).where(stands).values(live=False))


def picture(number):
    return hashlib.sha256(f"crossing {number}".encode()).digest()


def published(instance):
    """What stands in the feeds of an instance, as (feed, sha256)."""
    rows = instance.query("SELECT feed, sha256 FROM feed_rows WHERE op = 0 AND live")
    return sorted((feed, bytes(sha256)) for feed, sha256 in rows)


def taken(instance):
    """What an instance holds of its peers, as (feed, sha256)."""
    rows = instance.query(
        "SELECT v.feed, i.sha256 FROM verdicts v JOIN images i ON i.id = v.image_id "
        "JOIN issuers s ON s.id = v.issuer_id WHERE s.origin <> 'self'"
    )
    return sorted((feed, bytes(sha256)) for feed, sha256 in rows)


def count_taken(instance):
    return instance.query("SELECT count(*) FROM verdicts")[0][0]


def until(condition, said):
    wait_until(condition, said, WAIT_SECONDS)


def agree(alpha, beta):
    """Wait until beta holds what stands in alpha's feeds, and nothing else."""
    wanted = len(published(alpha))
    unsealed = "SELECT count(*) FROM feed_rows WHERE seq IS NULL"
    until(lambda: alpha.query(unsealed)[0][0] == 0, "alpha seals its pages")
    until(lambda: count_taken(beta) == wanted and taken(beta) == published(alpha), "they agree")


def nobody_is_accused(*instances):
    for instance in instances:
        assert instance.query("SELECT * FROM evidence") == []
        assert instance.query("SELECT halted FROM follows WHERE halted IS NOT NULL") == []


def introduce(alpha, beta):
    for feed in ("clean", "flagged"):
        beta.run("peers", "follow", alpha.handle(feed), "--yes")
    asked = "SELECT count(*) FROM followers"
    until(lambda: alpha.query(asked)[0][0] == 2, "the follows arrive")
    alpha.run("followers", "approve", beta.base_url)
    accepted = "SELECT count(*) FROM follows WHERE state = 'accepted'"
    until(lambda: beta.query(accepted)[0][0] == 2, "the answers arrive")


@pytest.mark.parametrize("size", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_whatever_happens_on_the_way_both_hold_the_same_rows_in_the_end(apart, size):
    alpha, beta = apart("alpha"), apart("beta")
    alpha.start()
    beta.start()
    introduce(alpha, beta)
    tenth = size // 10
    add_verdicts(alpha, 0, 4 * tenth)
    add_verdicts(alpha, size, tenth, Feed.FLAGGED)
    for _ in range(3):  # killed while pages come in
        held = count_taken(beta)
        until(lambda: count_taken(beta) > held or held >= 5 * tenth, "rows arrive")  # noqa: B023
        beta.kill()
        beta.start()
    agree(alpha, beta)
    old = {instance: instance.copy(f"old {instance.name}") for instance in (alpha, beta)}

    beta.wire.cut()
    alpha.wire.cut()
    add_verdicts(alpha, 4 * tenth, 5 * tenth)
    take_back(alpha, 7)
    alpha.kill()  # perhaps in the middle of sealing
    alpha.wire.mend()
    alpha.start()
    alpha.wire.cut()
    time.sleep(HOUR_SECONDS)
    alpha.wire.mend()
    beta.wire.mend()
    agree(alpha, beta)
    nobody_is_accused(alpha, beta)

    beta.restore(old[beta])  # a reader goes back: it reads again what it lost
    agree(alpha, beta)
    alpha.restore(old[alpha])  # an issuer goes back: a new epoch, later rows are withdrawn
    assert len(alpha.query("SELECT * FROM feed_epochs")) == 4
    add_verdicts(alpha, 5 * size, tenth)  # the first page of an epoch says where the old one ends
    add_verdicts(alpha, 6 * size, tenth, Feed.FLAGGED)
    agree(alpha, beta)
    take_back(alpha, 11)
    agree(alpha, beta)
    assert len(taken(beta)) > 4 * tenth
    nobody_is_accused(alpha, beta)


def test_an_issuer_that_signs_two_pages_of_one_number_is_found_out(apart):
    """A twin that brings even the note of the last head along tells another story."""
    alpha, beta = apart("alpha"), apart("beta")
    alpha.start()
    beta.start()
    introduce(alpha, beta)
    beta.run("peers", "trust", alpha.base_url, "--clean", "1", "--flag", "1")
    add_verdicts(alpha, 0, 20)
    agree(alpha, beta)
    twin = alpha.copy("twin")
    add_verdicts(alpha, 100, 3)
    agree(alpha, beta)
    nobody_is_accused(alpha, beta)
    alpha.restore(twin, with_state=True)
    add_verdicts(alpha, 200, 3)
    until(lambda: len(beta.query("SELECT * FROM evidence")) == 1, "beta finds the second story")
    weights = beta.query("SELECT clean_weight, flag_weight FROM issuers WHERE origin <> 'self'")
    assert weights == [(0, 0)]
    assert "two stories" in beta.run("peers", "show", alpha.base_url)
