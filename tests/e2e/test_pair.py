"""Two real processes: what one scanned, the other answers for, also after kill -9."""

import io
import os
import signal
import subprocess
import urllib.error
import urllib.request

import pytest
from sqlalchemy import text

from cache.storage.database import make_engine
from fediverdict.config import load_config
from fediverdict.demo.instance import environment
from fediverdict.demo.pictures import DemoPicture, copies, rewrap
from scanner.testpatterns import draw_pattern, draw_shape
from tests.e2e.conftest import LAZY, NO_SCANNER
from tests.waiting import wait_until

SHARED = LAZY + '[sources.pictures]\npath = "pictures"\nshare = "all"\n'
QUORUM_OF_ONE = "[decide]\nflag_quorum = 1\n"
NO_AUDITS = '[trust]\naudit = "off"\n'


def png(image):
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def shapes(first, count):
    return [
        DemoPicture(f"shape-{seed}.png", png(draw_shape(seed, (200, 200))), is_pattern=False)
        for seed in range(first, first + count)
    ]


def patterns(first, count):
    return [
        DemoPicture(f"pattern-{seed}.png", png(draw_pattern(seed, (200, 200))), is_pattern=True)
        for seed in range(first, first + count)
    ]


def show(instance, pictures):
    folder = instance.folder / "pictures"
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        (folder / picture.name).write_bytes(picture.data)


def held(instance):
    return sum(peer["verdicts"] for peer in instance.json("peers", "list", "--json"))


def query(instance, sql):
    """Look behind the scenes: the first value of a query on the instance's database."""
    engine = make_engine(load_config(instance.config, {}).database.url)
    with engine.connect() as database:
        found = database.execute(text(sql)).scalar()
    engine.dispose()
    return found


def rows(instance, condition):
    return query(instance, f"SELECT count(*) FROM feed_rows WHERE {condition}")


def introduce(alpha, beta):
    """Let beta follow both feeds of alpha, alpha approve, beta trust."""
    for feed in ("clean", "flagged"):
        beta.run("peers", "follow", alpha.handle(feed), "--yes")
    wait_until(lambda: len(alpha.json("followers", "list", "--json")) == 2, "the follows arrive")
    alpha.run("followers", "approve", beta.base_url)
    beta.run("peers", "trust", alpha.base_url, "--clean", "1", "--flag", "1")


def accepted(beta):
    [peer] = beta.json("peers", "list", "--json")
    return [feed["state"] for feed in peer["feeds"]] == ["accepted", "accepted"]


def database(request):
    """Return the config of a database: the default, or a new one on PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    return f'[database]\nurl = "{request.getfixturevalue("new_postgres_url")()}"\n'


@pytest.fixture
def pair(instances, request):
    """Alpha, which shares what it scans, and beta, which follows it and trusts it."""
    alpha = instances("alpha", SHARED + database(request))
    beta = instances("beta", LAZY + QUORUM_OF_ONE + NO_AUDITS + database(request))
    alpha.start()
    beta.start()
    introduce(alpha, beta)
    return alpha, beta


def test_beta_answers_for_what_alpha_scanned_without_a_scan(pair):
    """The whole chain: scan, sign, deliver, verify, store, match, decide."""
    alpha, beta = pair
    clean, bad = shapes(0, 4), patterns(0, 4)
    show(alpha, clean + bad)
    alpha.run("scan", "pictures")
    wait_until(lambda: held(beta) == 8, "eight verdicts reach beta")
    for picture in clean + [rewrap(picture) for picture in clean]:
        answer = beta.scan(picture.data)
        assert (answer["decision"], answer["scanned"]) == ("clean", False), picture.name
        assert answer["sources"][0]["issuer"] == alpha.base_url
    for picture in bad + [rewrap(picture) for picture in bad]:
        assert beta.scan(picture.data)["decision"] == "flagged", picture.name
    for picture in bad:
        for copy in copies(picture):
            answer = beta.scan(copy.data)
            assert answer["decision"] == "review", copy.name
            assert answer["match"]["kind"] == "near"
    for picture in shapes(50, 1) + patterns(50, 1):
        answer = beta.scan(picture.data)
        wanted = "flagged" if picture.is_pattern else "clean"
        assert (answer["decision"], answer["scanned"]) == (wanted, True), picture.name
    assert beta.scan(b"not a picture")["decision"] == "undecodable"
    beta.run("peers", "unfollow", alpha.handle("flagged"))
    assert held(beta) == 4
    wait_until(lambda: len(alpha.json("followers", "list", "--json")) == 1, "the Undo arrives")


def test_a_follower_that_was_down_catches_up_by_itself(pair):
    alpha, beta = pair
    wait_until(lambda: accepted(beta), "alpha's answers reach beta")
    beta.stop(signal.SIGKILL)
    show(alpha, shapes(0, 3) + patterns(0, 3))
    alpha.run("scan", "pictures")
    wait_until(lambda: rows(alpha, "seq IS NULL") == 0, "alpha seals its pages")
    beta.start()
    wait_until(lambda: held(beta) == 6, "beta has caught up")
    assert beta.scan(patterns(0, 1)[0].data)["decision"] == "flagged"


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
def test_kill_minus_9_in_the_middle_loses_nothing_and_doubles_nothing(pair):
    alpha, beta = pair
    pictures = shapes(0, 24) + patterns(0, 16)
    show(alpha, pictures)
    for _ in range(3):
        scan = subprocess.Popen(
            alpha.command("scan", "pictures", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment() | {"FEDIVERDICT_SCANNER__BATCH": "2"},
        )
        with scan.stdout or pytest.fail("no pipe") as printed:
            for _ in range(8):
                printed.readline()
            os.kill(scan.pid, signal.SIGKILL)
            scan.wait()
        for instance in (alpha, beta):
            instance.stop(signal.SIGKILL)
            instance.start()
    alpha.run("scan", "pictures")
    wait_until(lambda: held(beta) == len(pictures), "every verdict reaches beta")
    assert (rows(alpha, "op = 0"), rows(alpha, "op = 1")) == (len(pictures), 0)
    assert query(alpha, "SELECT count(*) FROM feed_epochs") == 2
    for picture in pictures:
        wanted = "flagged" if picture.is_pattern else "clean"
        assert beta.scan(picture.data)["decision"] == wanted, picture.name
    lines = alpha.run("scan", "pictures", "--json").splitlines()
    assert '"scanned": 0' in lines[-1]


def test_a_stranger_and_a_pending_follower_get_the_same_404(instances):
    """Not even that a page exists can be told from outside."""
    alpha = instances("alpha", SHARED)
    alpha.start()
    show(alpha, shapes(0, 1))
    alpha.run("scan", "pictures")
    wait_until(lambda: rows(alpha, "page = 1") == 1, "alpha seals its page")
    epoch = query(alpha, "SELECT epoch FROM feed_pages")
    page = f"{alpha.base_url}/feeds/clean/{epoch}/pages/1"
    there = status_and_body(alpha, page)
    missing = status_and_body(alpha, page + "1")
    assert there == missing
    assert there[0] == 404


def status_and_body(instance, url):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=10)
    headers = {k: v for k, v in refused.value.headers.items() if k != "Date"}
    return refused.value.code, refused.value.read(), headers


def test_two_servers_on_one_port_end_with_a_sentence(instances):
    alpha = instances("alpha", NO_SCANNER)
    alpha.start()
    second = subprocess.run(
        alpha.command("serve"), capture_output=True, text=True, check=False, env=environment()
    )
    assert second.returncode == 3
    assert str(alpha.port) in second.stderr
    assert "Traceback" not in second.stderr
