"""The tables of federation: own feeds, followers, followed feeds, inbox and deliveries.

They stand in the cache because one schema and one set of migrations serves all rooms;
only `federation` reads and writes them, but for `feed_rows`, which the cache appends to in
the very transaction that stores a verdict.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from cache.storage.tables import RowId, metadata

# --- what we publish -------------------------------------------------------------------------
signing_keys = Table(  # purpose "http" (RSA), "clean" and "flagged" (Ed25519)
    "signing_keys",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("private", LargeBinary, nullable=False),  # PKCS #8 DER
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Column("revoked_epoch", Text),  # of a stolen key: the first page that no longer counts
    Column("revoked_page", Integer),
)

feed_epochs = Table(
    "feed_epochs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("feed", SmallInteger, nullable=False, index=True),
    Column("epoch", Text, nullable=False, unique=True),  # 128 random bits, hex
    Column("previous_epoch", Text),
    Column("previous_page", Integer),
    Column("started", BigInteger, nullable=False),
)

feed_rows = Table(  # append-only; epoch, page and seq are given when the row is sealed
    "feed_rows",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("feed", SmallInteger, nullable=False),
    Column("op", SmallInteger, nullable=False),  # 0 attests, 1 retracts target_id
    Column("sha256", LargeBinary, nullable=False, index=True),
    Column("content", LargeBinary),
    Column("pdq", LargeBinary),
    Column("pdq_quality", SmallInteger),
    Column("pipeline_id", BigInteger, nullable=False, default=0),
    Column("basis", SmallInteger, nullable=False),
    Column("rule", Text, nullable=False, default=""),
    Column("finding", Text),
    Column("scores", Text),
    Column("issued", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("target_id", BigInteger),  # feed_rows.id of what a retraction frees
    Column("live", Boolean, nullable=False, default=True),  # false once retracted or replaced
    Column("added", BigInteger, nullable=False),
    Column("epoch", Text),
    Column("page", Integer),
    Column("seq", BigInteger),
)
Index(
    "ix_feed_rows_unsealed",
    feed_rows.c.feed,
    feed_rows.c.id,
    sqlite_where=feed_rows.c.seq.is_(None),
    postgresql_where=feed_rows.c.seq.is_(None),
)
Index(  # snapshots are read in this order
    "ix_feed_rows_place",
    feed_rows.c.feed,
    feed_rows.c.epoch,
    feed_rows.c.seq,
    sqlite_where=feed_rows.c.seq.is_not(None),
    postgresql_where=feed_rows.c.seq.is_not(None),
)

feed_pages = Table(
    "feed_pages",
    metadata,
    Column("feed", SmallInteger, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("page", Integer, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("digest", Text, nullable=False),  # multibase
    Column("published", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the document
    Column("tables", Text, nullable=False),  # its labels, rules and pipelines, as JSON
    Column("document", Text, nullable=False),  # the signed page, as served
)
Index(  # counts pages and their rows without a look at what is in them
    "ix_feed_pages_published",
    feed_pages.c.feed,
    feed_pages.c.published,
    feed_pages.c.count,
)

feed_runs = Table(  # pages that are also served merged
    "feed_runs",
    metadata,
    Column("feed", SmallInteger, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("first_page", Integer, primary_key=True),
    Column("last_page", Integer, nullable=False),
    Column("proof", Text, nullable=False),  # JSON; the rest is made from the pages when asked
)

feed_snapshots = Table(  # the rows that stood at a page, for newcomers
    "feed_snapshots",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("feed", SmallInteger, nullable=False, index=True),
    Column("epoch", Text, nullable=False),
    Column("through_page", Integer, nullable=False),
    Column("manifest", Text),  # the signed manifest as served; null while parts are being written
    Column("created", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

feed_snapshot_parts = Table(
    "feed_snapshot_parts",
    metadata,
    Column("snapshot_id", ForeignKey("feed_snapshots.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True),  # from 1
    Column("count", Integer, nullable=False),  # rows
    Column("digest", Text, nullable=False),  # multibase
    Column("document", Text, nullable=False),  # as served
)

followers = Table(  # pending -> approved | rejected; an Undo deletes the row unless rejected
    "followers",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("feed", SmallInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("origin", Text, nullable=False, index=True),
    Column("inbox", Text, nullable=False),
    Column("shared_inbox", Text),
    Column("state", Text, nullable=False),
    Column("follow_id", Text, nullable=False),  # id of the Follow activity
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("feed", "actor_id"),
)

deliveries = Table(  # the transactional outbox; a delivered row is deleted
    "deliveries",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("inbox", Text, nullable=False),
    Column("origin", Text, nullable=False, index=True),
    Column("activity_id", Text, nullable=False),
    Column("feed", SmallInteger),  # whose page it is; null for what is no page
    Column("body", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_try", BigInteger, nullable=False),
    Column("state", Text, nullable=False, default="waiting"),  # waiting | dropped
    Column("error", Text),
    UniqueConstraint("inbox", "activity_id"),
)
is_waiting = deliveries.c.state == literal_column("'waiting'")
"""Written out, for SQLite finds a partial index by its very text."""

Index(  # looked through at every turn; bodies are long
    "ix_deliveries_waiting",
    deliveries.c.origin,
    deliveries.c.id,
    deliveries.c.next_try,
    sqlite_where=is_waiting,
    postgresql_where=is_waiting,
)

# --- what we follow --------------------------------------------------------------------------
remote_actors = Table(
    "remote_actors",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("actor_id", Text, nullable=False, unique=True),
    Column("origin", Text, nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("fetched", BigInteger, nullable=False),
)

follows = Table(  # pending -> accepted | rejected
    "follows",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("actor_id", Text, nullable=False, unique=True),  # the feed actor
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("feed", SmallInteger, nullable=False),
    Column("handle", Text),
    Column("state", Text, nullable=False),
    Column("follow_id", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("epoch", Text),  # the cursor: the last page applied
    Column("page", Integer, nullable=False, default=0),
    Column("digest", Text),
    Column("published", BigInteger),  # when that page was sealed
    Column("head_epoch", Text),  # how far its outbox said it is when it was last asked
    Column("head_page", Integer),
    Column("signed_head", Text),  # the newest head that its issuer signed, for exchange
    Column("halted", Text),  # why nothing more is taken until the admin says so; null: it goes on
    Column("pulled", BigInteger),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_try", BigInteger, nullable=False, default=0),
    Column("error", Text),
)

follow_snapshots = Table(  # a snapshot that is being read
    "follow_snapshots",
    metadata,
    Column("follow_id", ForeignKey("follows.id", ondelete="CASCADE"), primary_key=True),
    Column("manifest", Text, nullable=False),  # verified
    Column("next_part", Integer, nullable=False),
    Column("after_epoch", Text),  # the last place of the parts that were applied
    Column("after_seq", BigInteger, nullable=False, default=0),
    Column("started", BigInteger, nullable=False),
)

remote_pages = Table(
    "remote_pages",
    metadata,
    Column("follow_id", ForeignKey("follows.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("page", Integer, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("key_id", Text, nullable=False),  # the key that signed it, or the run it was read in
    Column("proof", Text),  # of a page read alone, to show should its issuer tell another story
    Column("received", BigInteger, nullable=False, index=True),
)

ahead_pages = Table(  # pages past the cursor of which a document that their issuer signed came
    "ahead_pages",
    metadata,
    Column("follow_id", ForeignKey("follows.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("page", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("document", Text, nullable=False),  # the page, or a head that names it
    Column("received", BigInteger, nullable=False),
)

early_retractions = Table(  # retractions whose target is not here yet
    "early_retractions",
    metadata,
    Column("follow_id", ForeignKey("follows.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("expires", BigInteger, nullable=False),
)

inbox = Table(  # received -> done | failed
    "inbox",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("activity_id", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_try", BigInteger, nullable=False, default=0),
    Column("error", Text),
    UniqueConstraint("origin", "actor_id", "activity_id"),
)
is_received = inbox.c.state == literal_column("'received'")
Index(
    "ix_inbox_received",
    inbox.c.origin,
    inbox.c.actor_id,
    inbox.c.id,
    inbox.c.next_try,
    sqlite_where=is_received,
    postgresql_where=is_received,
)
