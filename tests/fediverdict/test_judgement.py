"""The judgement of now: what another process decides shows within a second, nothing else costs."""

import pytest

from cache.errors import CacheError
from cache.judgement import PipelineState
from cache.settings import PeerDefaults
from cache.storage.database import Store
from cache.trust.trust import add_peer, set_trust
from fediverdict.config import Config
from fediverdict.judgement import Judgements
from scanner.policy import load_policy
from tests.cache.pictures import A, trusted

PIPELINE = "ab" * 32


class Counted(Judgements):
    """Counts how often the tables are read."""

    reads = 0

    def _read(self, connection):
        self.reads += 1
        return super()._read(connection)


@pytest.fixture
def judgements():
    return Counted(Config(), load_policy("test"))


@pytest.fixture
def hurried(monkeypatch):
    """What is read again after a second is read again at once."""
    monkeypatch.setattr("fediverdict.judgement.TABLE_SECONDS", -1.0)


@pytest.fixture
def other(database_url):
    store = Store.open(database_url)
    yield store
    store.close()


def _trust(connection, flag):
    add_peer(connection, A, PeerDefaults(), now=0)
    set_trust(connection, A, trusted(flag=flag))


def _trust_and_fail(connection, flag):
    _trust(connection, flag)
    raise CacheError("rolled back")


def _weight(store, judgements):
    return store.read_now(judgements.current).trust_in(A).flag


@pytest.mark.usefixtures("hurried")
def test_trust_that_another_process_set_shows_when_the_second_is_over(store, other, judgements):
    assert _weight(store, judgements) == 0
    for weight in (100, 50, 0):
        other.write_now(_trust, weight)
        assert _weight(store, judgements) == weight
        store.write_now(_trust, weight + 1)
        assert _weight(store, judgements) == weight + 1


@pytest.mark.usefixtures("hurried")
def test_trust_that_was_rolled_back_never_shows(store, other, judgements):
    other.write_now(_trust, 40)
    assert _weight(store, judgements) == 40
    for writer in (store, other):
        with pytest.raises(CacheError):
            writer.write_now(_trust_and_fail, 90)
        assert _weight(store, judgements) == 40


@pytest.mark.usefixtures("hurried")
def test_a_judgement_read_within_a_write_that_is_rolled_back_does_not_stay(store, judgements):
    def ask_and_fail(connection):
        _trust(connection, 90)
        assert judgements.current(connection).trust_in(A).flag == 90
        raise CacheError("rolled back")

    with pytest.raises(CacheError):
        store.write_now(ask_and_fail)
    assert _weight(store, judgements) == 0


@pytest.mark.usefixtures("hurried")
def test_without_a_commit_nothing_is_read_again(sqlite_store, judgements):
    for _ in range(5):
        sqlite_store.read_now(judgements.current)
    assert judgements.reads == 1
    sqlite_store.write_now(_trust, 10)
    for _ in range(5):
        sqlite_store.read_now(judgements.current)
    assert judgements.reads == 2


def test_the_tables_are_read_at_most_once_a_second_however_many_commits(store, judgements):
    for weight in range(5):
        store.write_now(_trust, weight)
        store.read_now(judgements.current)
    assert judgements.reads == 1


def test_adopting_the_pipeline_in_use_again_reads_once_and_writes_nothing(store, judgements):
    adopted = store.write_now(judgements.adopt, PIPELINE, 1)
    before = judgements.reads
    assert store.write_now(judgements.adopt, PIPELINE, 2) == adopted
    assert judgements.reads == before + 1


def test_a_retired_pipeline_is_read_by_the_thresholds_it_had_last(store):
    """Thresholds rise and fall while it is in use, then another model comes."""
    scan(store, "balanced", PIPELINE)
    for strictness, threshold in (("lenient", 7_500), ("strict", 2_500)):
        scan(store, strictness, PIPELINE)
        config = Config.model_validate({"scanner": {"model": "other.onnx"}})
        other = Judgements(config, load_policy("test"))
        terms = store.read_now(other.current).pipelines[PIPELINE]
        assert terms.state is PipelineState.RETIRED
        assert terms.thresholds["test-pattern"] == threshold


def scan(store, strictness, pipeline):
    """Start with that strictness, and scan a picture."""
    config = Config.model_validate({"scanner": {"strictness": strictness}})
    started = Judgements(config, load_policy("test"))
    store.write_now(started.settle, 1)
    store.write_now(started.adopt, pipeline, 1)


def test_a_reader_that_began_before_a_commit_does_not_hide_what_it_brought(store, judgements):
    """Reads run beside each other on PostgreSQL: what an earlier one finds must not stay."""
    read = judgements._read

    def overtaken(connection):
        found = read(connection)
        judgements._read = read
        store.write_now(judgements.adopt, PIPELINE, 1)
        judgements.forget_unless_known(PIPELINE)
        return found

    judgements._read = overtaken
    store.read_now(judgements.current)
    assert PIPELINE in store.read_now(judgements.current).pipelines


def test_a_reader_whose_transaction_is_older_hides_no_pipeline_from_who_knows_of_it(
    store, judgements
):
    def older(connection):
        connection.exec_driver_sql("SELECT count(*) FROM verdicts").all()  # what it sees is fixed
        store.write_now(judgements.adopt, PIPELINE, 1)
        judgements.forget_unless_known(PIPELINE)
        return judgements.current(connection)

    assert PIPELINE not in store.read_now(older).pipelines
    assert PIPELINE in store.read_now(judgements.current, knowing=PIPELINE).pipelines
    assert PIPELINE in store.read_now(judgements.current).pipelines
