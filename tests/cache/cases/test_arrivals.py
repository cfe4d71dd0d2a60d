"""Arrivals: of a peer's rows only those are noted that bear on something here."""

import pytest
from sqlalchemy import event, select

from cache.cases.arrivals import forget_arrivals, note_arrivals, waiting_arrivals
from cache.memory.record import image_rows, own_issuer, pipeline_row
from cache.settings import PeerDefaults
from cache.storage.case_tables import arrivals, case_grounds, cases, prints
from cache.storage.rows import IN_LIST
from cache.storage.tables import verdicts
from cache.trust.trust import add_peer
from cache.verdict import Basis, Feed
from tests.cache.prints import OTHERS, fingerprint

NOW = 1_800_000_000
PICTURE = fingerprint("picture")


@pytest.fixture
def peer(store):
    return store.write_now(add_peer, "https://a.example", PeerDefaults(), now=NOW)


def picture_row(store, name):
    sha256 = fingerprint(name).sha256
    return store.write_now(image_rows, [sha256], now=NOW)[sha256]


def printed(store, image_id):
    store.write_now(lambda c: c.execute(prints.insert().values(image_id=image_id)))
    return image_id


def says(store, issuer_id, image_id, feed, content):
    def write(connection):
        connection.execute(
            verdicts.insert().values(
                image_id=image_id,
                issuer_id=issuer_id,
                feed=int(feed),
                pipeline_id=pipeline_row(connection, OTHERS),
                basis=int(Basis.MODEL),
                scores='{"test-pattern":9000}',
                content=content,
                issued=NOW,
                expires=NOW + 9_000,
            )
        )

    store.write_now(write)


def noted(store):
    return store.read_now(waiting_arrivals, 100)


def test_a_row_on_a_picture_printed_here_is_noted(store, peer):
    image_id = printed(store, picture_row(store, "picture"))
    store.write_now(note_arrivals, peer, Feed.FLAGGED, [image_id], gone=False)
    [one] = noted(store)
    assert (one.image_id, one.issuer_id, one.feed, one.gone) == (
        image_id,
        peer,
        Feed.FLAGGED,
        False,
    )


def test_a_row_on_a_picture_never_met_here_is_not_noted(store, peer):
    says(store, peer, picture_row(store, "strange"), Feed.FLAGGED, PICTURE.content)
    store.write_now(
        note_arrivals, peer, Feed.FLAGGED, [picture_row(store, "strange"), 999_999], gone=False
    )
    assert noted(store) == []


def test_a_row_that_claims_the_content_of_a_verdict_of_ours_is_noted(store, peer):
    ours = store.write_now(own_issuer, now=NOW)
    says(store, ours, picture_row(store, "picture"), Feed.OWN, PICTURE.content)
    theirs = picture_row(store, "rewrapped")
    says(store, peer, theirs, Feed.FLAGGED, PICTURE.content)
    store.write_now(note_arrivals, peer, Feed.FLAGGED, [theirs], gone=False)
    assert [one.image_id for one in noted(store)] == [theirs]


def test_an_absent_content_equals_no_absent_content(store, peer):
    ours = store.write_now(own_issuer, now=NOW)
    says(store, ours, picture_row(store, "picture"), Feed.OWN, None)
    theirs = picture_row(store, "other")
    says(store, peer, theirs, Feed.FLAGGED, None)
    store.write_now(note_arrivals, peer, Feed.FLAGGED, [theirs], gone=False)
    assert noted(store) == []


def test_another_issuers_claim_of_that_content_is_not_this_ones(store, peer):
    ours = store.write_now(own_issuer, now=NOW)
    other = store.write_now(add_peer, "https://b.example", PeerDefaults(), now=NOW)
    says(store, ours, picture_row(store, "picture"), Feed.OWN, PICTURE.content)
    theirs = picture_row(store, "rewrapped")
    says(store, other, theirs, Feed.FLAGGED, PICTURE.content)
    store.write_now(note_arrivals, peer, Feed.FLAGGED, [theirs], gone=False)
    assert noted(store) == []


def test_a_row_that_went_is_noted_only_where_a_case_still_rests_on_it(store, peer):
    held, lapsed, free = (
        printed(store, picture_row(store, name)) for name in ("held", "lapsed", "free")
    )

    def rest(connection):
        values = {"state": "open", "rules": "", "reason": "", "opened": NOW, "changed": NOW}
        connection.execute(cases.insert().values(id=1, embargo=False, **values))
        for image_id, gone in ((held, None), (lapsed, NOW)):
            connection.execute(
                case_grounds.insert().values(
                    case_id=1,
                    image_id=image_id,
                    issuer_id=peer,
                    of_image_id=image_id,
                    kind="exact",
                    distance=0,
                    rule="r",
                    acted=True,
                    added=NOW,
                    gone=gone,
                )
            )

    store.write_now(rest)
    store.write_now(note_arrivals, peer, Feed.FLAGGED, [held, lapsed, free], gone=True)
    assert [(one.image_id, one.gone) for one in noted(store)] == [(held, True)]


def test_many_rows_take_one_statement_a_batch(store, peer):
    ids = list(range(1, 2 * IN_LIST + 2))
    said = []
    event.listen(store.engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    store.write_now(note_arrivals, peer, Feed.CLEAN, ids, gone=False)
    assert sum("arrivals" in statement for statement in said) == 3


def test_notes_are_taken_oldest_first_and_forgotten_one_by_one(store, peer):
    ids = [printed(store, picture_row(store, name)) for name in "abc"]
    store.write_now(note_arrivals, peer, Feed.CLEAN, ids, gone=False)
    first = store.read_now(waiting_arrivals, 2)
    store.write_now(forget_arrivals, first)
    assert [one.image_id for one in noted(store)] == ids[2:]
    assert store.read_now(lambda c: len(c.execute(select(arrivals)).all())) == 1


def test_a_peer_that_repeats_itself_fills_no_queue(store, peer):
    ids = [printed(store, picture_row(store, name)) for name in "abc"]
    store.write_now(note_arrivals, peer, Feed.CLEAN, ids, gone=False)
    before = noted(store)
    for _ in range(3):
        store.write_now(note_arrivals, peer, Feed.CLEAN, ids[:2], gone=False)
    store.write_now(note_arrivals, peer, Feed.FLAGGED, ids[:1], gone=False)
    assert sorted((one.image_id, one.feed) for one in noted(store)) == sorted(
        [*((image_id, Feed.CLEAN) for image_id in ids), (ids[0], Feed.FLAGGED)]
    )
    store.write_now(forget_arrivals, before)  # who worked on the old notes ends those alone
    assert len(noted(store)) == 3
