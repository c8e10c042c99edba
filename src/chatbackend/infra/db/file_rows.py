"""Rows of files and chunk sets as the domain has them."""

from typing import Any, cast

from chatbackend.domain.indexing import ChunkSet, SetStatus, chunking_of
from chatbackend.domain.uploads import File, Reason, Stage, UploadPurpose
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Row


def file_of(row: Row) -> File:
    """Return a row of `files`."""
    return File(
        id=row["id"],
        tenant=row["tenant"],
        owner=row["owner"],
        filename=row["filename"],
        purpose=cast(UploadPurpose, row["purpose"]),
        bytes=row["bytes"],
        sha256=row["sha256"],
        media_type=row["media_type"],
        format=row["format"],
        searchable=bool(row["searchable"]),
        blob_key=row["blob_key"],
        created_at=row["created_at"] // MICROS,
        expires_at=None if row["expires_at"] is None else row["expires_at"] // MICROS,
        stage=cast(Stage, row["stage"]),
        percent=row["percent"],
        reason=reason_of(row),
    )


def file_row(file: File, *, created_at: int) -> dict[str, Any]:
    """Return a new file as a row; `created_at` is in microseconds."""
    return {
        "id": file.id,
        "tenant": file.tenant,
        "owner": file.owner,
        "filename": file.filename,
        "purpose": file.purpose,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "media_type": file.media_type,
        "format": file.format,
        "searchable": int(file.searchable),
        "blob_key": file.blob_key,
        "created_at": created_at,
        "expires_at": None if file.expires_at is None else file.expires_at * MICROS,
        "stage": file.stage,
        "percent": file.percent,
    }


def set_of(row: Row) -> ChunkSet:
    """Return a row of `chunk_sets`."""
    return ChunkSet(
        id=row["id"],
        file_id=row["file_id"],
        tenant=row["tenant"],
        owner=row["owner"],
        chunking=chunking_of(row["chunking"]),
        status=cast(SetStatus, row["status"]),
        done=row["done"],
        fingerprint=row["fingerprint"],
        embedder=row["embedder"],
        usage_bytes=row["usage_bytes"],
        reason=reason_of(row),
    )


def reason_of(row: Row) -> Reason | None:
    """Return why a row failed."""
    return None if row["reason_code"] is None else Reason(row["reason_code"], row["reason_message"])
