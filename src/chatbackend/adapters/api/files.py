"""The Files API's shapes: the form of an upload read, the file object written.

Source: the `openai` package, types/file_create_params.py and file_object.py.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.uploads import PURPOSES, File, Reason, UploadPurpose

MIN_EXPIRY_S: Final = 3_600
MAX_EXPIRY_S: Final = 30 * 86_400


def read_purpose(given: str | None) -> UploadPurpose:
    """Read the form's `purpose`. Raises: InvalidRequest."""
    for known in PURPOSES:
        if given == known:
            return known
    if given is None:
        raise InvalidRequest("Missing required parameter: 'purpose'.", param="purpose")
    raise InvalidRequest(f"'purpose' must be one of {', '.join(PURPOSES)}.", param="purpose")


def read_expiry(fields: Mapping[str, str]) -> int | None:
    """Read `expires_after[anchor]` and `expires_after[seconds]`. Raises: InvalidRequest."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest("'expires_after[anchor]' must be created_at.", param="expires_after")
    whole = int(seconds) if seconds and seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else 0
    if not MIN_EXPIRY_S <= whole <= MAX_EXPIRY_S:
        message = f"'expires_after[seconds]' must be a whole number from {MIN_EXPIRY_S} to {MAX_EXPIRY_S}."
        raise InvalidRequest(message, param="expires_after")
    return whole


def file_object(file: File) -> dict[str, Any]:
    """Return the file object; how far it is and why it failed stand in fields of our own."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.reason.message if file.reason else None,
        "chatbackend_stage": file.stage,
        "chatbackend_percent": file.percent,
        "chatbackend_reason": reason_object(file.reason),
        "chatbackend_sha256": file.sha256,
        "chatbackend_media_type": file.media_type,
    }


def reason_object(reason: Reason | None) -> dict[str, str] | None:
    """Return why something failed."""
    return None if reason is None else {"code": reason.code, "message": reason.message}


def deleted_object(file_id: str) -> dict[str, Any]:
    """Return what is said of a deleted file."""
    return {"id": file_id, "object": "file", "deleted": True}


def content_headers(file: File) -> list[tuple[bytes, bytes]]:
    """Return the headers of a download: whatever the file is, no browser runs or guesses it.

    Source: RFC 6266 and RFC 8187 for the name.
    """
    name = quote(file.filename, safe="")
    return [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(file.bytes).encode()),
        (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"private, no-store"),
    ]
