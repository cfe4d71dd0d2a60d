"""Runs alembic on the connection that `migrations` hands in; it holds the transaction."""

from alembic import context

import cache.storage.case_tables
import cache.storage.feed_tables
import cache.storage.peer_tables  # each adds its tables to the metadata
import cache.storage.trust_tables  # noqa: F401  # each adds its tables to the metadata
from cache.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
