"""Two real processes: one disputes what the other published, and a person there agrees."""

import pytest

from scanner.decoding.fingerprint import sha256_of
from tests.e2e.conftest import NO_SCANNER
from tests.e2e.test_pair import SHARED, held, patterns, show
from tests.waiting import wait_until


def disputes(instance):
    return instance.json("peers", "disputes", "--json")


@pytest.mark.slow
def test_a_dispute_is_a_case_there_and_its_dismissal_withdraws_the_row_here(instances):
    alpha, beta = instances("alpha", SHARED), instances("beta", NO_SCANNER)
    alpha.start()
    beta.start()
    beta.run("peers", "follow", alpha.handle("flagged"), "--yes")
    wait_until(lambda: alpha.json("followers", "list", "--json"), "the follow arrives")
    alpha.run("followers", "approve", beta.base_url)
    [picture] = patterns(0, 1)
    show(alpha, [picture])
    alpha.run("scan", "pictures")
    wait_until(lambda: held(beta) == 1, "the flag reaches beta")

    sha256 = sha256_of(picture.data).hex()
    beta.run("peers", "dispute", alpha.base_url, sha256, "--text", "a test pattern, no more")
    wait_until(lambda: disputes(alpha), "the dispute reaches alpha")
    [received] = disputes(alpha)
    assert (received["peer"], received["state"]) == (beta.base_url, "open")
    assert (received["sha256"], received["text"]) == (sha256, "a test pattern, no more")
    assert disputes(beta)[0]["attestation"] == received["attestation"]

    alpha.run("cases", "decide", str(received["case"]), "dismissed", "--reason", "they are right")
    assert disputes(alpha)[0]["state"] == "answered"
    wait_until(lambda: held(beta) == 0, "the retraction reaches beta")
    assert disputes(beta)[0]["state"] == "withdrawn"
