"""Files, vector stores, passages and jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "expand"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply."""
    _chunk_sets()
    _chunks()
    _file_batches()
    _file_texts()
    _files()
    _jobs()
    _postings()
    _vector_store_file_attributes()
    _vector_store_files()
    _vector_stores()


def downgrade() -> None:
    """Undo."""
    for table in (
        "vector_stores",
        "vector_store_files",
        "vector_store_file_attributes",
        "postings",
        "jobs",
        "files",
        "file_texts",
        "file_batches",
        "chunks",
        "chunk_sets",
    ):
        op.drop_table(table)


def _chunk_sets() -> None:
    op.create_table(
        "chunk_sets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("file_id", TEXT, nullable=False),
        sa.Column("chunking", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("length", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fingerprint", TEXT, nullable=True),
        sa.Column("embedder", TEXT, nullable=True),
        sa.Column("usage_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reason_code", TEXT, nullable=True),
        sa.Column("reason_message", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("chunk_sets", schema=None) as batch_op:
        batch_op.create_index("chunk_sets_by_file", ["file_id", "chunking"], unique=True)


def _chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column(
            "chunk_set_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("page", sa.BigInteger(), nullable=True),
        sa.Column("header", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("chunk_set_id", "number"),
    )


def _file_batches() -> None:
    op.create_table(
        "file_batches",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("vector_store_id", TEXT, nullable=False),
        sa.Column("cancelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("file_batches", schema=None) as batch_op:
        batch_op.create_index("file_batches_by_store", ["vector_store_id"], unique=False)


def _file_texts() -> None:
    op.create_table(
        "file_texts",
        sa.Column("file_id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("layout", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id"),
    )


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("filename", TEXT, nullable=False),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("media_type", TEXT, nullable=False),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("searchable", sa.BigInteger(), nullable=False),
        sa.Column("blob_key", TEXT, nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("percent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reason_code", TEXT, nullable=True),
        sa.Column("reason_message", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.create_index("files_by_blob", ["blob_key"], unique=False)
        batch_op.create_index("files_by_owner", ["tenant", "owner", "created_at", "id"], unique=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("deaths", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_after", sa.BigInteger(), nullable=False),
        sa.Column("leased_at", sa.BigInteger(), nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("jobs_by_subject", ["subject"], unique=False)
        batch_op.create_index("jobs_due", ["state", "run_after"], unique=False)


def _postings() -> None:
    op.create_table(
        "postings",
        sa.Column(
            "chunk_set_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("term", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("tf", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chunk_set_id", "term", "number"),
        sqlite_with_rowid=False,
    )


def _vector_store_file_attributes() -> None:
    op.create_table(
        "vector_store_file_attributes",
        sa.Column("vector_store_id", TEXT, nullable=False),
        sa.Column("file_id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=True),
        sa.Column("number", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("vector_store_id", "file_id", "key"),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("vector_store_file_attributes", schema=None) as batch_op:
        batch_op.create_index("vector_store_file_attributes_by_file", ["file_id"], unique=False)


def _vector_store_files() -> None:
    op.create_table(
        "vector_store_files",
        sa.Column("vector_store_id", TEXT, nullable=False),
        sa.Column("file_id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("chunk_set_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_id", TEXT, nullable=True),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("vector_store_id", "file_id"),
    )
    with op.batch_alter_table("vector_store_files", schema=None) as batch_op:
        batch_op.create_index("vector_store_files_by_batch", ["batch_id"], unique=False)
        batch_op.create_index("vector_store_files_by_file", ["file_id"], unique=False)
        batch_op.create_index("vector_store_files_by_set", ["chunk_set_id"], unique=False)


def _vector_stores() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=True),
        sa.Column("metadata", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_active_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_days", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("vector_stores", schema=None) as batch_op:
        batch_op.create_index("vector_stores_by_owner", ["tenant", "owner", "created_at", "id"], unique=False)
