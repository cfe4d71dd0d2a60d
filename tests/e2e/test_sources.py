"""`scan`, `watch` and `apply` over each kind of source, as an admin calls them, in processes.

The stores are real (an OpenSSH server) or speak as they do (moto, a fake pict-rs). The classifier
alone is a fake, so that no process loads torch: what is red is a test pattern.
"""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cache.memory.calibration import Calibration, record_calibration
from cache.storage.database import Store
from fediverdict.config import load_config
from fediverdict.judgement import Judgements
from scanner.policy import load_policy
from tests.fakes.pictrs import Pictrs
from tests.fakes.scanner import RedClassifier
from tests.fakes.sshd import SSHD, Sshd
from tests.fediverdict.test_judge import GREEN, RED, png
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[2]
SECRET = "very-secret-value"
PICTURES = {
    "a/red.png": png(RED, 1),
    "a/green.png": png(GREEN, 2),
    "broken.png": b"no picture",
    "red.png": png(RED, 3),
}
LATER = ("later.png", png(RED, 4))


class Bucket:
    """A bucket of moto's server; one of its keys cannot be named by the client."""

    flags = frozenset({"a/red.png", "red.png"})

    async def start(self, folder):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.url = "http://{}:{}".format(*self.server.get_host_and_port())
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key=SECRET,
        )
        self.name = folder.name.replace("_", "-")
        self.client.create_bucket(Bucket=self.name)
        for key in ("a/../b.png", *PICTURES):
            self.put(key, PICTURES.get(key, b"hidden"))

    def table(self):
        return (
            f'kind = "s3"\nbucket = "{self.name}"\nendpoint = "{self.url}"\n'
            f'access_key_id = "id"\nsecret_access_key = "{SECRET}"\nretries = 0\n'
        )

    def put(self, key, data):
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return key

    def there(self):
        found = self.client.list_objects_v2(Bucket=self.name)["Contents"]
        return {one["Key"] for one in found} - {"a/../b.png"}

    async def stop(self):
        self.server.stop()


class Server:
    """A folder behind a real OpenSSH server."""

    flags = frozenset({"a/red.png", "red.png"})

    async def start(self, folder):
        if SSHD is None:
            pytest.skip("no sshd here; Debian: apt-get install openssh-server")
        (folder / "sshd").mkdir()
        self.root = folder / "behind"
        self.server = Sshd(folder / "sshd")
        self.server.start()
        for key, data in PICTURES.items():
            self.put(key, data)

    def table(self):
        return (
            f'kind = "sftp"\nhost = "127.0.0.1"\nport = {self.server.port}\n'
            f'user = "{self.server.user}"\npath = "{self.root}"\n'
            f'host_key = "{self.server.fingerprint}"\nkey_file = "{self.server.key_file}"\n'
        )

    def put(self, key, data):
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return key

    def there(self):
        return {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}

    async def stop(self):
        if SSHD is not None:
            self.server.stop()


class PictrsServer:
    """A pict-rs whose pictures go by their hashes, each with two aliases."""

    async def start(self, folder):
        del folder
        self.fake = Pictrs(token=SECRET)
        await self.fake.start()
        keys = {name: self.put(name, data) for name, data in PICTURES.items()}
        self.flags = {keys["a/red.png"], keys["red.png"]}

    def table(self):
        return f'kind = "pict-rs"\nurl = "{self.fake.url}"\ntoken = "{SECRET}"\npage_items = 2\n'

    def put(self, key, data):
        name = key.replace("/", "-")
        return self.fake.store(data, name, f"other-{name}", format="png").hash.hex()

    def there(self):
        return {one.hash.hex() for one in self.fake.originals}

    async def stop(self):
        await self.fake.stop()


class Admin:
    """Calls commands over one source, in one database."""

    def __init__(self, folder, table, url):
        self.log, self.config = folder / "scanned", folder / "config.toml"
        self.config.write_text(
            f'[database]\nurl = "{url}"\n[scan]\nwrite_seconds = 0.1\nretry_seconds = 0.2\n'
            f"retry_seconds_max = 0.5\n[sources.there]\npoll_seconds = 0.2\n{table}"
        )
        self.store = Store.open(url)

    def calibrated(self):
        """Note that the rules were tried, without which nothing is deleted."""
        policy = load_policy("test")
        rules = Judgements(load_config(self.config, {}), policy).rule_texts
        tried = {"balanced": policy.thresholds()}
        found = Calibration(
            RedClassifier().pipeline_id, policy.digest(), 1, 100, rules, tried, {"balanced": {}}
        )
        self.store.write_now(record_calibration, found)

    async def start(self, *arguments):
        words = ("-m", "tests.fakes.command", self.log, "inf", "--config", self.config, *arguments)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *map(str, words),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def call(self, *arguments):
        """Return the exit code, the JSON lines on standard output, and standard error."""
        process = await self.start(*arguments, "--json")
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert SECRET.encode() not in out + err
        assert b"Traceback" not in err, err.decode()
        return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


@pytest.fixture(params=[Bucket, Server, PictrsServer], ids=["s3", "sftp", "pict-rs"])
async def place(request, tmp_path):
    made = request.param()
    await made.start(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
def admin(tmp_path, place, sqlite_url):
    made = Admin(tmp_path, place.table(), sqlite_url)
    made.calibrated()
    yield made
    made.store.close()


async def test_a_source_is_scanned_once_and_what_is_flagged_there_is_deleted(admin, place):
    whole = place.there()
    code, (*seen, summary), err = await admin.call("scan", "there")
    assert code == 1, err
    assert summary["state"] == "done"
    assert {one["key"] for one in seen if one["decision"] == "flagged"} == place.flags
    counts = summary["summary"]
    assert (counts["flagged"], counts["clean"], counts["undecodable"]) == (2, 1, 1)
    assert place.there() == whole
    code, (*_, summary), _ = await admin.call("scan", "there")
    assert (code, summary["run"], summary["summary"]["scanned"]) == (1, 2, 0)
    assert len(admin.log.read_text().split()) == 3

    code, (*became, summary), err = await admin.call("apply", 1, "--action", "delete", "--yes")
    assert code == 0, err
    assert "cannot be undone" in err
    assert {one["key"] for one in became} == place.flags
    assert summary["counts"] == {"acted": 2, "skipped": 0, "failed": 0}
    assert place.there() == whole - place.flags
    code, (*became, summary), _ = await admin.call("apply", 2, "--action", "delete", "--yes")
    assert {one["state"] for one in became} == {"skipped"}  # known as deleted by the other run
    assert place.there() == whole - place.flags


async def test_a_source_is_watched_for_what_appears(admin, place):
    process = await admin.start("watch", "there", "--json")
    async with asyncio.timeout(PATIENCE):
        told = [json.loads(await process.stdout.readline()) for _ in range(3)]
        later = place.put(*LATER)
        told.append(json.loads(await process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    flagged = {one["key"] for one in told if one["decision"] == "flagged"}
    assert flagged == place.flags | {later}
    assert told[-1]["key"] == later
    code, runs, _ = await admin.call("apply")
    assert [(one["kind"], one["found"]["flagged"]) for one in runs[0]] == [("watch", 3)]
    assert code == 0


@pytest.mark.parametrize("place", [PictrsServer], ids=["pict-rs"], indirect=True)
async def test_a_source_that_is_away_is_waited_for_while_another_is_watched(admin, place, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    place.fake.token = "another"  # from now on it refuses us
    process = await admin.start("watch", "there", here, "--json")
    async with asyncio.timeout(PATIENCE):
        while b"trying again" not in (said := await process.stderr.readline()):
            assert said
        (here / "new.png").write_bytes(png(RED, 9))
        assert json.loads(await process.stdout.readline())["key"] == "new.png"
        place.fake.token = SECRET
        told = [json.loads(await process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert {one["source"] for one in told} == {"there"}
    assert {one["key"] for one in told if one["decision"] == "flagged"} == place.flags
    assert process.returncode == 0
