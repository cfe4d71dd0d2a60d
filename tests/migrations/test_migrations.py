"""The schema grows and shrinks on both databases, with data in it."""

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.schema import CreateIndex

import cache.storage.case_tables
import cache.storage.feed_tables
import cache.storage.peer_tables
import cache.storage.trust_tables  # noqa: F401
import migrations
from cache.errors import DatabaseNotOurs, DatabaseTooNew, DatabaseTooOld, DatabaseUnavailable
from cache.storage.database import Store, make_engine
from cache.storage.tables import issuers, metadata
from tests.waiting import PATIENCE


def _put(connection):
    connection.execute(issuers.insert().values(origin="self", state="self", created=1))


def test_the_migrated_schema_equals_the_tables(empty_url):
    """Whoever adds a column without a migration is told here."""
    migrations.upgrade(empty_url)
    with make_engine(empty_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_every_index_and_unique_constraint_is_migrated(empty_url):
    """compare_metadata overlooks partial indexes on SQLite, so they are compared by their words."""
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    if engine.dialect.name != "sqlite":
        inspector = sa.inspect(engine)
        for table in metadata.sorted_tables:
            found = {index["name"] for index in inspector.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= found
        return
    with engine.connect() as connection:
        words = set(connection.exec_driver_sql("SELECT sql FROM sqlite_master").scalars())
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    assert {str(CreateIndex(one).compile(dialect=engine.dialect)) for one in indexes} <= words


def test_upgrading_twice_keeps_the_data(empty_url):
    migrations.upgrade(empty_url)
    store = Store.open(empty_url)
    store.write_now(_put)
    store.close()
    migrations.upgrade(empty_url)
    migrations.check(empty_url)
    store = Store.open(empty_url)
    assert store.read_now(lambda c: c.execute(sa.select(issuers.c.origin)).scalar_one()) == "self"
    store.close()


def test_downgrading_to_nothing_and_up_again_works_with_data_in_the_tables(empty_url):
    migrations.upgrade(empty_url)
    store = Store.open(empty_url)
    store.write_now(_put)
    store.close()
    migrations.downgrade(empty_url, "base")
    assert set(sa.inspect(make_engine(empty_url)).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(empty_url)
    migrations.check(empty_url)


def test_processes_that_start_at_once_on_an_empty_database_all_find_it_ready(empty_url):
    script = (
        "import sys, migrations; from cache.storage.database import Store;"
        "migrations.upgrade(sys.argv[1]); migrations.check(sys.argv[1]);"
        "Store.open(sys.argv[1]).close()"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, empty_url]) for _ in range(3)]
    assert [run.wait(PATIENCE) for run in runs] == [0, 0, 0]


def test_a_database_without_tables_is_too_old(empty_url):
    with pytest.raises(DatabaseTooOld, match="fediverdict db upgrade"):
        migrations.check(empty_url)


def test_a_database_of_a_newer_version_is_refused_by_check_and_upgrade(empty_url):
    migrations.upgrade(empty_url)
    with make_engine(empty_url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (
        migrations.check,
        migrations.upgrade,
        lambda url: migrations.downgrade(url, "base"),
    ):
        with pytest.raises(DatabaseTooNew, match="upgrade this installation"):
            act(empty_url)


def test_a_database_that_is_not_there_is_named_without_its_password():
    url = "postgresql://someone:hidden@127.0.0.1:1/none"
    with pytest.raises(DatabaseUnavailable) as raised:
        migrations.check(url)
    assert "hidden" not in str(raised.value)
    assert "127.0.0.1" in str(raised.value)


def test_a_database_with_tables_but_no_version_is_refused_and_left_as_it_is(empty_url):
    with make_engine(empty_url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE tokens (id INTEGER)"))
    with pytest.raises(DatabaseNotOurs, match="a table tokens already"):
        migrations.upgrade(empty_url)
    assert sa.inspect(make_engine(empty_url)).get_table_names() == ["tokens"]


def test_other_tables_beside_ours_do_no_harm(empty_url):
    with make_engine(empty_url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE of_somebody_else (id INTEGER)"))
    migrations.upgrade(empty_url)
    migrations.check(empty_url)


def test_a_user_who_may_not_create_tables_is_told_so(new_postgres_url):
    url = sa.make_url(new_postgres_url())
    with make_engine(url).begin() as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS fv_guest"))
        connection.execute(sa.text("CREATE ROLE fv_guest LOGIN"))
        connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    with pytest.raises(DatabaseUnavailable, match="permission denied"):
        migrations.upgrade(url.set(username="fv_guest"))


def test_a_read_only_file_is_one_clear_sentence(tmp_path):
    """Tests may run as root, whom no file refuses: the database itself refuses."""
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    engine = make_engine(url)
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        migrations.upgrade(engine)
