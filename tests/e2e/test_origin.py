"""Two real processes: a picture that arrives before the page that judges it."""

import threading

from tests.e2e.conftest import LAZY
from tests.e2e.test_pair import (
    QUORUM_OF_ONE,
    SHARED,
    held,
    introduce,
    patterns,
    query,
    rows,
    shapes,
    show,
    status_and_body,
)
from tests.waiting import wait_until

SLOW = 3_600
REUSE = QUORUM_OF_ONE + '[trust]\naudit = "off"\n[reuse]\ngrace_seconds = 60\n'


def seals_after(instance, seconds):
    """Let an instance seal its pages so late, from its next start on."""
    text = instance.config.read_text()
    instance.stop()
    lines = [
        f"{line.split('=')[0]}= {seconds}" if line.startswith("seal_") else line
        for line in text.splitlines()
    ]
    instance.config.write_text("\n".join(lines) + "\n")
    instance.start()


def pair(instances, of_beta):
    """Alpha, whose pages come an hour late, and beta, which trusts it."""
    alpha, beta = instances("alpha", SHARED), instances("beta", of_beta + REUSE)
    seals_after(alpha, SLOW)
    beta.start()
    introduce(alpha, beta)
    wait_until(
        lambda: query(beta, "SELECT count(*) FROM follows WHERE state = 'accepted'") == 2,
        "alpha's answers reach beta",
    )
    return alpha, beta


def scan(beta, picture, origin, more=""):
    return beta.request("POST", f"/api/v1/scan?origin={origin}{more}", picture.data)


def test_beta_asks_alpha_for_what_no_page_holds_yet(instances):
    alpha, beta = pair(instances, LAZY)
    clean, bad = shapes(0, 1)[0], patterns(0, 1)[0]
    show(alpha, [clean, bad])
    alpha.run("scan", "pictures")
    assert rows(alpha, "seq IS NULL") == 2
    for picture, wanted in ((clean, "clean"), (bad, "flagged")):
        answer = scan(beta, picture, alpha.base_url)
        assert (answer["decision"], answer["scanned"]) == (wanted, False)
        assert answer["sources"][0]["issuer"] == alpha.base_url
    days = "SELECT max(expires - received) FROM verdicts WHERE seq IS NULL"
    assert query(beta, days) == 86_400
    seals_after(alpha, 0)
    sealed = "SELECT count(*) FROM verdicts WHERE seq = 1"
    wait_until(lambda: query(beta, sealed) == 2, "the pages come")
    assert held(beta) == 2
    assert scan(beta, bad, alpha.base_url)["decision"] == "flagged"


def test_a_background_source_waits_for_the_page_and_a_stranger_s_picture_does_not(instances):
    alpha, beta = pair(instances, LAZY)
    picture, other = shapes(0, 2)
    show(alpha, [picture])
    assert scan(beta, other, "http://127.0.0.1:1", "&background=1")["scanned"]
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(scan(beta, picture, alpha.base_url, "&background=1"))
    )
    waiting.start()
    alpha.run("scan", "pictures")
    seals_after(alpha, 0)
    waiting.join(55)
    assert [(answer["decision"], answer["scanned"]) for answer in answers] == [("clean", False)]


def test_a_stranger_gets_one_404_for_what_is_there_and_what_is_not(instances):
    alpha = instances("alpha", SHARED)
    alpha.start()
    picture = shapes(0, 1)[0]
    show(alpha, [picture])
    alpha.run("scan", "pictures")
    sha256 = query(alpha, "SELECT lower(hex(sha256)) FROM feed_rows")
    there = status_and_body(alpha, f"{alpha.base_url}/attestations/clean?sha256={sha256}")
    missing = status_and_body(alpha, f"{alpha.base_url}/attestations/clean?sha256={'0' * 64}")
    page = status_and_body(alpha, f"{alpha.base_url}/feeds/clean/{'0' * 32}/pages/1")
    assert there == missing == page
    assert there[0] == 404
