"""Runs alembic on the connection that `migrations` hands in; it holds the transaction."""

from alembic import context

import cache.case_tables
import cache.feed_tables
import cache.trust_tables  # noqa: F401  # each adds its tables to the metadata
from cache.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
