"""The tables of verdicts: one schema for SQLite and PostgreSQL (SQLAlchemy Core).

Hashes are raw bytes, times UTC epoch seconds, weights hundredths, scores JSON text of
{label: 0..10000 or null}. What an issuer claims of a picture (content, pdq) stands on its
verdict row; `images` holds only what this instance computed itself.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from cache.storage.contents import content_key

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId = BigInteger().with_variant(Integer, "sqlite")

# --- this instance ---------------------------------------------------------------------------
secrets = Table(  # random values that never leave, e.g. name "instance" (32 bytes)
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

tokens = Table(  # bearer tokens; `digest` is the SHA-256 of the token
    "tokens",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),  # space-separated: scan lookup worker admin
    Column("created", BigInteger, nullable=False),
)

notes = Table(  # what a process has to know of an earlier one, e.g. by which rules codes stand
    "notes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# --- who says what ---------------------------------------------------------------------------
issuers = Table(
    "issuers",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("origin", Text, nullable=False, unique=True),  # "self", or https://host[:port]
    Column("state", Text, nullable=False),  # self | observed | trusted | suspended
    Column("clean_weight", Integer, nullable=False, default=0),  # hundredths
    Column("flag_weight", Integer, nullable=False, default=0),  # hundredths
    Column("labels", Text, nullable=False, default="*"),  # heard labels, space-separated
    Column("max_age_days", Integer, nullable=False, default=180),
    Column("audit_rate", Integer, nullable=False, default=5),  # hundredths
    Column("min_agreement", Integer, nullable=False, default=95),  # hundredths
    Column("operator", Text),  # instances of one operator count once
    Column("created", BigInteger, nullable=False),
)

label_weights = Table(  # what overrides an issuer's weights for one label
    "label_weights",
    metadata,
    Column("issuer_id", ForeignKey("issuers.id", ondelete="CASCADE"), primary_key=True),
    Column("label", Text, primary_key=True),
    Column("clean_weight", Integer),
    Column("flag_weight", Integer),
)

pipelines = Table(
    "pipelines",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # SHA-256 of the description
    Column("description", Text, nullable=False),  # RFC 8785 JSON
)

own_pipelines = Table(  # what this instance ever scanned with; the newest of `settings` is in use
    "own_pipelines",
    metadata,
    Column("pipeline", Text, primary_key=True),  # hex id
    Column("settings", Text, nullable=False),  # which model by which policy, as configured
    Column("family", Text, nullable=False, default=""),  # equal for precisions of one model
    Column("thresholds", Text, nullable=False),  # JSON {label: 1..10000}, as last used
    Column("used", BigInteger, nullable=False),
)

# --- pictures and verdicts -------------------------------------------------------------------
images = Table(
    "images",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("content", LargeBinary),  # from here on: computed by this instance, or null
    Column("pdq", LargeBinary),
    Column("pdq_quality", SmallInteger),
    Column("pdq_variants", LargeBinary),  # the 8 dihedral codes in a row, 256 bytes
    Column("phash", LargeBinary),
    Column("keyed", LargeBinary),  # local and secret; only while decide.near_clean = "own"
    Column("width", Integer),  # pixels, as displayed
    Column("height", Integer),
    Column("frames", Integer),  # how many the file holds; null: not known
    Column("media_type", Text),
    Column("inside", Text),  # what else the file holds, space-separated, e.g. appended-data
    Column("fingerprinted", Boolean, nullable=False, default=False),  # by us, in full
    Column("created", BigInteger, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("feed", SmallInteger, nullable=False),  # verdict.Feed
    Column("pipeline_id", BigInteger, nullable=False, default=0),  # 0 for basis HUMAN
    Column("basis", SmallInteger, nullable=False),  # verdict.Basis
    Column("rule", Text, nullable=False, default=""),
    Column("finding", Text),
    Column("scores", Text),
    Column("content", LargeBinary),  # as the issuer claims
    Column("pdq", LargeBinary),
    Column("pdq_quality", SmallInteger),
    Column("issued", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("frames_seen", Integer, nullable=False, default=1),
    Column("frames_total", Integer, nullable=False, default=1),
    Column("epoch", Text),  # where a peer's row stands in its feed
    Column("seq", BigInteger),
    Column("received", BigInteger, nullable=False, default=0),  # when it was stored here
    UniqueConstraint("image_id", "issuer_id", "feed", "pipeline_id", "basis", "rule"),
)
Index(
    "ix_verdicts_content",
    content_key(verdicts.c.content),
    sqlite_where=verdicts.c.content.is_not(None),  # PostgreSQL counts the keys of whole ones only
)
Index(
    "ix_verdicts_place",
    verdicts.c.issuer_id,
    verdicts.c.feed,
    verdicts.c.epoch,
    verdicts.c.seq,
    sqlite_where=verdicts.c.seq.is_not(None),
    postgresql_where=verdicts.c.seq.is_not(None),
)
Index(  # by which rows of peers are pruned; ours stay
    "ix_verdicts_expires",
    verdicts.c.expires,
    sqlite_where=verdicts.c.feed != 0,
    postgresql_where=verdicts.c.feed != 0,
)

findings = Table(  # what persons here decided; append-only, the newest of a rule counts
    "findings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False, index=True),
    Column("content", LargeBinary, index=True),
    Column("rule", Text, nullable=False),
    Column("finding", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided", BigInteger, nullable=False),
)

codes = Table(  # what near matching searches; `changed` grows with every change of a row
    "codes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    Column("issuer_id", ForeignKey("issuers.id"), nullable=False),
    Column("pdq", LargeBinary, nullable=False),
    Column("pdq_quality", SmallInteger, nullable=False),
    Column("phash", LargeBinary),  # own codes only
    Column("withdrawn", Boolean, nullable=False, default=False),
    Column("changed", BigInteger, nullable=False, unique=True),
    UniqueConstraint("image_id", "issuer_id"),
)

# --- where pictures were met (never federated) -----------------------------------------------
sources = Table(
    "sources",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # folder | gate
    Column("location", Text, nullable=False),
)

sightings = Table(
    "sightings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),  # changes when the object changes, e.g. its mtime
    Column("image_id", ForeignKey("images.id"), index=True),  # null: too large to be hashed
    Column("outcome", Text, nullable=False),  # judged | undecodable | over-limit
    Column("reason", Text, nullable=False, default=""),  # why it could not be judged
    Column("terms", Text, nullable=False, default=""),  # digest of the limits it was met under
    Column("seen", BigInteger, nullable=False),
    UniqueConstraint("source_id", "key"),
)

# --- passes over a source, and what they found -----------------------------------------------
runs = Table(  # running -> done | stopped; a stopped or killed one goes on behind its cursor
    "runs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("source_id", ForeignKey("sources.id"), nullable=False, index=True),
    Column("location", Text, nullable=False),  # of the source when the run began
    Column("kind", Text, nullable=False),  # scan | watch
    Column("options", Text, nullable=False),  # JSON: prefix, since
    Column("reads_all", Boolean, nullable=False),  # unchanged objects are read as well
    Column("state", Text, nullable=False),  # running | stopped | done
    Column("cursor", Text),  # everything listed up to it is recorded; null: nothing is yet
    Column("seen", BigInteger, nullable=False),  # objects recorded
    Column("scanned", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
)

run_items = Table(  # findings: found -> acting -> acted | failed | skipped
    "run_items",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    Column("sha256", LargeBinary),  # null: too large to be hashed
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rules", Text, nullable=False),  # space-separated
    Column("inside", Text, nullable=False),  # space-separated
    Column("state", Text, nullable=False),  # found | acting | acted | failed | skipped
    Column("action", Text),  # delete | strip; null until one is begun
    Column("note", Text),  # why it failed or was skipped
    Column("acted", BigInteger),
    UniqueConstraint("run_id", "key"),
)
