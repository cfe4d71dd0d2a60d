"""Near search against brute force, at its radii and one bit past them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import migrations
from cache.decide import decide
from cache.index import followed, near
from cache.index.near import MAX_OWN_HITS, MAX_PEER_HITS, NearIndex, met_limit
from cache.memory.codes import Code, set_codes
from cache.memory.lookup import evidence
from cache.memory.record import image_row, own_issuer
from cache.outcome import Reason
from cache.settings import IndexSettings
from cache.storage.database import Store
from cache.storage.tables import issuers
from cache.verdict import Evidence, MatchKind
from tests.cache.pictures import GOOD, NOW, A, exact, judgement, verdict
from tests.cache.prints import fingerprint, flipped

QUERY = fingerprint("query").pdq
FAR = tuple(fingerprint(f"variant {i}").pdq for i in range(7))


def _peer(connection):
    connection.execute(issuers.insert().values(origin="https://a", state="trusted", created=0))
    return connection.execute(issuers.select().where(issuers.c.origin == "https://a")).one().id


def _fill(connection, codes_by_issuer):
    """Store codes for pictures of their own, and return an index that holds them."""
    for issuer_id, codes in codes_by_issuer.items():
        wanted = {
            image_row(connection, fingerprint(f"{issuer_id} {i}").sha256, now=0): code
            for i, code in enumerate(codes)
        }
        set_codes(connection, issuer_id, wanted)
    return _refreshed(connection)


def _refreshed(connection):
    index = NearIndex()
    index.refresh(connection)
    return index


def _search_one(sqlite_store, code, *, own, variants=(QUERY, *FAR), quality=90, phash=None):
    def run(connection):
        issuer = own_issuer(connection, now=0) if own else _peer(connection)
        return _fill(connection, {issuer: [code]}).search(variants, quality, phash)

    return [(hit.kind, hit.distance, hit.own) for hit in sqlite_store.write_now(run)]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("bits", "kind"),
    [
        (0, MatchKind.NEAR),
        (31, MatchKind.NEAR),
        (32, MatchKind.PROBABLE),
        (40, MatchKind.PROBABLE),
        (41, None),
    ],
)
def test_the_identity_is_near_to_31_bits_and_probable_to_40(sqlite_store, bits, kind, own):
    found = _search_one(sqlite_store, Code(flipped(QUERY, bits), 50), own=own)
    assert found == ([(kind, bits, own)] if kind else [])


@pytest.mark.parametrize(("bits", "found"), [(31, [(MatchKind.NEAR, 31, True)]), (32, [])])
def test_the_other_variants_are_near_to_31_bits_and_never_probable(sqlite_store, bits, found):
    code = Code(flipped(FAR[4], bits), 50)
    assert _search_one(sqlite_store, code, own=True) == found


@pytest.mark.parametrize(("bits", "found"), [(47, [(MatchKind.PROBABLE, 47, True)]), (48, [])])
def test_a_phash_of_our_own_is_probable_to_47_bits(sqlite_store, bits, found):
    phash = fingerprint("query").phash
    code = Code(fingerprint("another").pdq, 90, flipped(phash, bits))
    assert _search_one(sqlite_store, code, own=True, phash=phash) == found


def test_a_phash_of_a_peer_is_not_looked_at(sqlite_store):
    phash = fingerprint("query").phash
    code = Code(fingerprint("another").pdq, 90, phash)
    assert _search_one(sqlite_store, code, own=False, phash=phash) == []


def test_flat_pictures_are_never_matched_on_either_side(sqlite_store):
    assert _search_one(sqlite_store, Code(QUERY, 90), own=True, quality=49) == []


def test_a_flat_code_is_not_matched(sqlite_store):
    assert _search_one(sqlite_store, Code(QUERY, 49), own=True) == []


def test_a_code_of_a_wrong_length_harms_nobody(sqlite_store):
    assert _search_one(sqlite_store, Code(b"short", 90), own=False) == []


def test_changes_are_followed_and_withdrawn_codes_are_gone(store):
    """Each index follows the sequence, also over withdrawing and returning."""
    image = store.write_now(image_row, b"p" * 32, now=0)
    own = store.write_now(own_issuer, now=0)
    index = NearIndex()

    def found():
        store.read_now(index.refresh)
        return [hit.image_id for hit in index.search([QUERY], 90, None)]

    assert found() == []
    store.write_now(set_codes, own, {image: Code(QUERY, 90)})
    assert found() == [image]
    store.write_now(set_codes, own, {image: Code(flipped(QUERY, 100), 90)})
    assert found() == []
    store.write_now(set_codes, own, {image: Code(QUERY, 90)})
    store.write_now(set_codes, own, {image: None})
    assert found() == []
    store.write_now(set_codes, own, {image: Code(QUERY, 90)})
    assert found() == [image]
    assert len(index) == 1


def test_setting_the_same_code_again_changes_nothing(store):
    image = store.write_now(image_row, b"p" * 32, now=0)
    own = store.write_now(own_issuer, now=0)
    store.write_now(set_codes, own, {image: Code(QUERY, 90)})

    def rows(connection):
        return connection.exec_driver_sql("SELECT * FROM codes").all()

    before = store.read_now(rows)
    store.write_now(set_codes, own, {image: Code(QUERY, 90)})
    assert store.read_now(rows) == before
    store.write_now(set_codes, own, {image: None})
    once = store.read_now(rows)
    store.write_now(set_codes, own, {image: None})
    assert store.read_now(rows) == once


def test_one_peer_cannot_crowd_out_our_own_codes(sqlite_store):
    def run(connection):
        own, peer = own_issuer(connection, now=0), _peer(connection)
        index = _fill(
            connection,
            {
                peer: [Code(QUERY, 90)] * (MAX_PEER_HITS + 1),
                own: [Code(flipped(QUERY, 31), 90)] * (MAX_OWN_HITS + 1),
            },
        )
        hits = index.search([QUERY], 90, None)
        return sum(hit.own for hit in hits), sum(not hit.own for hit in hits)

    assert sqlite_store.write_now(run) == (MAX_OWN_HITS, MAX_PEER_HITS)


@pytest.mark.parametrize(("number", "cut"), [(MAX_PEER_HITS - 1, False), (MAX_PEER_HITS, True)])
def test_a_search_that_met_its_limit_says_that_there_may_be_more(sqlite_store, number, cut):
    def run(connection):
        return _fill(connection, {_peer(connection): [Code(QUERY, 90)] * number})

    index = sqlite_store.write_now(run)
    picture = fingerprint("query")
    found = sqlite_store.read_now(evidence, index, fingerprint=picture)
    assert found.cut is cut


def test_a_picture_among_more_codes_than_are_looked_at_is_not_clean_by_reuse():
    """One peer's codes could otherwise hide the one that flags."""
    clean = exact(verdict(GOOD, A))
    assert decide(Evidence((clean,)), judgement(), now=NOW, can_scan=True).decision == "clean"
    for can_scan, decision in ((True, "unknown"), (False, "review")):
        outcome = decide(Evidence((clean,), cut=True), judgement(), now=NOW, can_scan=can_scan)
        assert outcome.decision == decision
        assert outcome.reason is Reason.SUSPECTED


NUMBER = 300


@pytest.fixture(scope="module")
def crowd():
    """300 random codes of PDQ and pHash each, many in one ball; every third is a peer's."""
    random = np.random.default_rng(7)

    def codes():
        found = [random.bytes(32) for _ in range(100)]
        return found + [_noisy(random, found[0], int(random.integers(0, 60))) for _ in range(200)]

    return list(zip(codes(), codes(), strict=True))


def _noisy(random, code, bits):
    value = int.from_bytes(code, "big")
    for at in random.choice(256, bits, replace=False):
        value ^= 1 << int(at)
    return value.to_bytes(32, "big")


@pytest.fixture(scope="module", params=["delta", "base", "both", "files"])
def crowded(request, crowd, tmp_path_factory):
    """An index of the crowd: what came since, a base in memory, both, and a base from files."""
    folder = tmp_path_factory.mktemp("crowd")
    url = f"sqlite:///{folder / 'crowd.sqlite3'}"
    migrations.upgrade(url)
    store = Store.open(url)
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "delta":
            patch.setattr(followed, "SMALL_ENTRIES", 0)
        index = NearIndex(folder / "index" if request.param == "files" else None)
        begun = 150 if request.param == "both" else NUMBER
        for some in (range(begun), range(begun, NUMBER)):
            store.write_now(_store_crowd, crowd, some)
            store.read_now(index.refresh)
        index.followed.settle()
        if request.param == "files":
            index = NearIndex(folder / "index")
            store.read_now(index.refresh)
            assert index.followed.state.moments["pdq"].base.codes.base is not None
    bases = {"delta": 0, "base": NUMBER, "both": 150, "files": NUMBER}
    assert len(index.followed.state.moments["pdq"].base) == bases[request.param]
    yield index
    store.close()


def _store_crowd(connection, crowd, numbers):
    """Give picture i + 1 the i-th code."""
    issuer_ids = own_issuer(connection, now=0), _peer_of(connection)
    for i in numbers:
        image_id = image_row(connection, fingerprint(f"{i}").sha256, now=0)
        assert image_id == i + 1
        pdq, phash = crowd[i]
        set_codes(connection, issuer_ids[i % 3 == 0], {image_id: Code(pdq, 90, phash)})


def _peer_of(connection):
    found = connection.execute(issuers.select().where(issuers.c.origin == "https://a")).first()
    return found.id if found else _peer(connection)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), bits=st.integers(0, 50), phash_bits=st.integers(0, 50))
def test_the_search_equals_brute_force(crowd, crowded, seed, bits, phash_bits):
    random = np.random.default_rng(seed)
    pdq, phash = crowd[seed % NUMBER]
    variants = [_noisy(random, pdq, bits), *(random.bytes(32) for _ in range(6))]
    variants.append(_noisy(random, crowd[0][0], int(random.integers(0, 40))))
    asked = _noisy(random, phash, phash_bits)
    hits = crowded.search(variants, 90, asked)
    assert not hits.cut
    found = {(hit.image_id - 1, hit.kind, hit.distance) for hit in hits if hit.own}
    expected = _expected(crowd, variants, asked)
    assert found == {one for one in expected if one[0] % 3}
    theirs = [(hit.kind, hit.distance) for hit in hits if not hit.own]
    for kind in (MatchKind.NEAR, MatchKind.PROBABLE):
        near = sorted(bits for i, of, bits in expected if not i % 3 and of is kind)
        assert [bits for of, bits in theirs if of is kind] == near[:MAX_PEER_HITS]


def _expected(crowd, variants, asked):
    expected = set()
    for i, (code, phash) in enumerate(crowd):
        distances = [_bits(code, variant) for variant in variants]
        if min(distances) <= 31:
            expected.add((i, MatchKind.NEAR, min(distances)))
        elif distances[0] <= 40:
            expected.add((i, MatchKind.PROBABLE, distances[0]))
        elif i % 3 and _bits(phash, asked) <= 47:
            expected.add((i, MatchKind.PROBABLE, _bits(phash, asked)))
    return expected


def _bits(one, other):
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_many_pictures_at_once_find_what_each_finds_alone(crowd, crowded):
    pictures: list[tuple[list[bytes], int | None, bytes | None]]
    pictures = [*(([pdq], 90, phash) for pdq, phash in crowd), ([], None, None)]
    found = crowded.search_many(pictures)
    assert found == [crowded.search(*picture) for picture in pictures]
    assert all(found[:-1])
    assert found[-1] == []


def test_peers_clear_nothing_that_could_not_be_compared(sqlite_store):
    """Without a PDQ our own flagged twin of the picture would go unseen."""
    clean = exact(verdict(GOOD, A))
    outcome = decide(Evidence((clean,), compared=False), judgement(), now=NOW, can_scan=True)
    assert (outcome.decision, outcome.reason) == ("unknown", Reason.NOT_COMPARED)
    own = exact(verdict(GOOD))
    assert decide(
        Evidence((own,), compared=False), judgement(), now=NOW, can_scan=False
    ).decision == ("clean")
    asked = fingerprint("asked")
    bare = replace(asked, pdq=None, pdq_quality=None)
    for ours, compared in ((asked, True), (bare, False)):
        found = sqlite_store.read_now(evidence, NearIndex(), fingerprint=ours)
        assert found.compared is compared


def test_an_answer_that_is_remembered_is_forgotten_when_a_code_changes(sqlite_store):
    """Asking twice gives the same; a code that is withdrawn or added shows at once."""

    def run(connection):
        own = own_issuer(connection, now=0)
        image_id = image_row(connection, fingerprint("flagged").sha256, now=0)
        index, found = NearIndex(), []
        for code in (Code(QUERY, 90), None, Code(flipped(QUERY, 5), 90)):
            set_codes(connection, own, {image_id: code})
            index.refresh(connection)
            asked = [index.search([QUERY], 90, None) for _ in range(2)]
            assert asked[0] == asked[1]
            found.append([hit.distance for hit in asked[0]])
        return found

    assert sqlite_store.write_now(run) == [[0], [], [5]]


def test_the_answers_remembered_are_bounded(sqlite_store, monkeypatch):
    monkeypatch.setattr(near, "MAX_REMEMBERED", 3)
    index = sqlite_store.write_now(lambda c: _fill(c, {own_issuer(c, now=0): [Code(QUERY, 90)]}))
    for number in range(10):
        index.search([fingerprint(f"asked {number}").pdq], 90, None)
        assert len(index._remembered[1]) <= 3
    assert [hit.distance for hit in index.search([QUERY], 90, None)] == [0]


def _work_of(index, variants):
    """Return the smallest limit at which a search is not cut, by halving."""
    low, high = 0, 1 << 20
    while high - low > 1:
        index._work = middle = (low + high) // 2
        index._remembered = (index.followed.state, {})
        low, high = (low, middle) if not index.search(variants, 90, None).cut else (middle, high)
    return high


def test_a_search_at_its_work_limit_finds_all_and_one_past_it_forbids_clean(
    sqlite_store, monkeypatch
):
    """Past it a picture is scanned: whether anything is near is not known."""
    monkeypatch.setattr(followed, "SMALL_ENTRIES", 0)
    index = sqlite_store.write_now(
        lambda c: _fill(c, {own_issuer(c, now=0): [Code(flipped(QUERY, 5), 90)] * 40})
    )
    picture = fingerprint("query")
    limit = _work_of(index, [QUERY, *FAR])
    for work, cut in ((limit, False), (limit - 1, True)):
        index._work, index._remembered = work, (index.followed.state, {})
        found = sqlite_store.read_now(evidence, index, fingerprint=picture, variants=(QUERY, *FAR))
        assert found.cut is cut
    clean = exact(verdict(GOOD, A))
    outcome = decide(replace(found, matches=(clean,)), judgement(), now=NOW, can_scan=True)
    assert outcome.decision == "unknown"


@pytest.mark.parametrize(("number", "held"), [(7, 7), (8, 7)])
def test_a_peer_has_no_more_codes_in_the_index_than_the_setting_allows(sqlite_store, number, held):
    def run(connection):
        peer, own = _peer(connection), own_issuer(connection, now=0)
        codes = [Code(fingerprint(f"code {i}").pdq, 90) for i in range(number)]
        _fill(connection, {peer: codes, own: codes})
        index = NearIndex(settings=IndexSettings(peer_codes=7))
        index.refresh(connection)
        return len(index)

    assert sqlite_store.write_now(run) == held + number


def test_copying_a_code_of_ours_a_thousand_times_hides_nothing(sqlite_store, monkeypatch):
    """A peer floods one code, in the base and in what came since; ours is found beside it."""
    monkeypatch.setattr(followed, "SMALL_ENTRIES", 100)

    def run(connection):
        peer, own = _peer(connection), own_issuer(connection, now=0)
        flood = [Code(QUERY, 90)] * 1_001
        return _fill(connection, {peer: flood, own: [Code(QUERY, 90)]})

    index = sqlite_store.write_now(run)
    hits = index.search([QUERY], 90, None)
    assert [hit.distance for hit in hits if hit.own] == [0]
    assert sum(not hit.own for hit in hits) == MAX_PEER_HITS
    assert met_limit(hits)
