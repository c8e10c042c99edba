"""Tables of files, their texts, chunks and postings, of vector stores, and of jobs."""

from sqlalchemy import Column, Float, Index, Table

from chatbackend.infra.db.tables.schema import BIG, METADATA, TEXT, blob, integer, owned, text

FILES = Table(
    "files",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("filename"),
    text("purpose"),
    integer("bytes"),
    text("sha256"),
    text("media_type"),
    text("format"),  # the parser's name
    integer("searchable"),
    text("blob_key"),
    text("stage"),
    integer("percent", default="0"),
    text("reason_code", null=True),
    text("reason_message", null=True),
    integer("created_at"),
    integer("expires_at", null=True),
)
Index("files_by_owner", FILES.c.tenant, FILES.c.owner, FILES.c.created_at, FILES.c.id)
Index("files_by_blob", FILES.c.blob_key)

FILE_TEXTS = Table(
    "file_texts",
    METADATA,
    Column("file_id", TEXT, primary_key=True),
    *owned(),
    text("text"),
    blob("layout"),  # JSON: pages, headings, title
)

CHUNK_SETS = Table(
    "chunk_sets",
    METADATA,
    Column("id", BIG, primary_key=True, autoincrement=True),
    *owned(),
    text("file_id"),
    text("chunking"),
    text("status"),  # in_progress | completed | failed
    integer("done", default="0"),  # chunks that are committed
    integer("length", default="0"),  # of these chunks together, in terms
    text("fingerprint", null=True),  # of the cut that is being written
    text("embedder", null=True),  # NULL: terms only
    integer("usage_bytes", default="0"),
    text("reason_code", null=True),
    text("reason_message", null=True),
    integer("created_at"),
    sqlite_autoincrement=True,  # an id is never used again: caches and late writers go by it
)
Index("chunk_sets_by_file", CHUNK_SETS.c.file_id, CHUNK_SETS.c.chunking, unique=True)

CHUNKS = Table(
    "chunks",
    METADATA,
    Column("chunk_set_id", BIG, primary_key=True, autoincrement=False),
    Column("number", BIG, primary_key=True, autoincrement=False),
    *owned(),
    integer("start"),
    integer("end"),
    integer("page", null=True),
    text("header"),
    text("text"),
    blob("vector", null=True),  # little-endian float32, unit length
)

# Small rows, read by term within a set and dropped by set: the key is the table.
POSTINGS = Table(
    "postings",
    METADATA,
    Column("chunk_set_id", BIG, primary_key=True, autoincrement=False),
    Column("term", TEXT, primary_key=True),
    Column("number", BIG, primary_key=True, autoincrement=False),
    *owned(),
    integer("tf"),
    integer("length"),  # of the chunk, in terms
    sqlite_with_rowid=False,
)

VECTOR_STORES = Table(
    "vector_stores",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("name"),
    text("description", null=True),
    blob("metadata"),
    integer("created_at"),
    integer("last_active_at"),
    integer("expires_days", null=True),
)
Index(
    "vector_stores_by_owner",
    VECTOR_STORES.c.tenant,
    VECTOR_STORES.c.owner,
    VECTOR_STORES.c.created_at,
    VECTOR_STORES.c.id,
)

STORE_FILES = Table(
    "vector_store_files",
    METADATA,
    Column("vector_store_id", TEXT, primary_key=True),
    Column("file_id", TEXT, primary_key=True),
    *owned(),
    Column("chunk_set_id", BIG, nullable=False),
    text("batch_id", null=True),
    blob("attributes"),
    integer("cancelled", default="0"),
    integer("created_at"),
)
Index("vector_store_files_by_file", STORE_FILES.c.file_id)
Index("vector_store_files_by_set", STORE_FILES.c.chunk_set_id)
Index("vector_store_files_by_batch", STORE_FILES.c.batch_id)

# What filters compare: one row per attribute, beside the JSON that is shown.
ATTRIBUTES = Table(
    "vector_store_file_attributes",
    METADATA,
    Column("vector_store_id", TEXT, primary_key=True),
    Column("file_id", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    *owned(),
    text("kind"),  # text | number | boolean
    text("text", null=True),
    Column("number", Float, nullable=True),
    sqlite_with_rowid=False,
)
Index("vector_store_file_attributes_by_file", ATTRIBUTES.c.file_id)

FILE_BATCHES = Table(
    "file_batches",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("vector_store_id"),
    integer("cancelled", default="0"),
    integer("created_at"),
)
Index("file_batches_by_store", FILE_BATCHES.c.vector_store_id)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", BIG, primary_key=True, autoincrement=True),
    *owned(),
    text("kind"),
    text("subject"),  # what it is about, by kind: a chunk set, a blob, a file
    text("state"),  # queued | running | given_up
    integer("failures", default="0"),
    integer("deaths", default="0"),
    integer("run_after"),
    integer("leased_at", null=True),
    text("error", null=True),
    integer("created_at"),
    integer("fence", default="0"),  # of the server whose worker has it
    sqlite_autoincrement=True,
)
Index("jobs_due", JOBS.c.state, JOBS.c.run_after)
Index("jobs_by_subject", JOBS.c.subject)
