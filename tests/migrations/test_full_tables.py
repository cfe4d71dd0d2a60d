"""The schema grows and shrinks with rows in every table, on both databases."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import op

import cache.storage.case_tables
import cache.storage.feed_tables
import cache.storage.peer_tables
import cache.storage.trust_tables  # noqa: F401
import migrations
from cache.storage.database import Store
from cache.storage.tables import metadata

NUMBERS = (1, 2)


def _value(column: "sa.Column[object]", number: int) -> object:
    """Return a value of the column's type; rows of one number refer to each other."""
    if column.foreign_keys:
        return number
    match column.type:
        case sa.Boolean():
            return bool(number % 2)
        case sa.Integer():
            return number
        case sa.LargeBinary():
            return bytes([number]) * 32
        case sa.Text():
            return f"{column.name} {number}"
    raise NotImplementedError(f"a {column.type} of {column.table.name}")


def _rows(table: sa.Table) -> Iterator[dict[str, object]]:
    for number in NUMBERS:
        yield {column.name: _value(column, number) for column in table.columns}


def _fill(connection: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        connection.execute(table.insert(), list(_rows(table)))


def _read(connection: sa.Connection) -> dict[str, list[dict[str, object]]]:
    return {
        table.name: [
            dict(row._mapping)
            for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
        ]
        for table in metadata.sorted_tables
    }


def _filled(url: str) -> Store:
    migrations.upgrade(url)
    store = Store.open(url)
    store.write_now(_fill)
    return store


def test_a_row_fits_into_every_table_and_stays_when_upgraded_again(empty_url):
    store = _filled(empty_url)
    store.close()
    migrations.upgrade(empty_url)
    store = Store.open(empty_url)
    expected = {table.name: list(_rows(table)) for table in metadata.sorted_tables}
    assert store.read_now(_read) == expected
    store.close()


def test_downgrading_with_rows_in_every_table_leaves_nothing_and_upgrading_works_again(empty_url):
    _filled(empty_url).close()
    tables = {table.name for table in metadata.sorted_tables}
    migrations.downgrade(empty_url, "base")
    store = Store.open(empty_url)
    assert not tables & set(sa.inspect(store.engine).get_table_names())
    store.close()
    migrations.upgrade(empty_url)
    migrations.check(empty_url)
    store = Store.open(empty_url)
    store.write_now(_fill)
    assert {name: len(rows) for name, rows in store.read_now(_read).items()} == dict.fromkeys(
        tables, len(NUMBERS)
    )
    store.close()


def test_a_downgrade_that_fails_leaves_everything_as_it_was(empty_url, monkeypatch):
    """One transaction: half a schema would be worse than none."""
    store = _filled(empty_url)
    before = store.read_now(_read)
    store.close()
    monkeypatch.setattr(op, "drop_table", _refuse_at("images", op.drop_table))
    with pytest.raises(RuntimeError, match="pulled the plug"):
        migrations.downgrade(empty_url, "base")
    migrations.check(empty_url)
    store = Store.open(empty_url)
    assert store.read_now(_read) == before
    store.close()


def _refuse_at(name: str, drop):
    def refuse(table: str, *args: object, **kwargs: object) -> None:
        if table == name:
            raise RuntimeError("pulled the plug")
        drop(table, *args, **kwargs)

    return refuse
