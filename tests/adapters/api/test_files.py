"""The Files API's shapes pass the SDK's own types; a wrong form is refused by name."""

import msgspec
import pytest
from openai.types import FileDeleted, FileObject

from chatbackend.adapters.api import files as shapes
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.uploads import File, Reason, Stage


def file(stage: Stage = "ready", *, reason: Reason | None = None, filename: str = "a.pdf") -> File:
    return File(
        "file_1", "t", "o", filename, "assistants", 7, "ab", "application/pdf", "pdf", True, "blob_1", 12,
        expires_at=99, stage=stage, percent=50, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize("stage", ["queued", "parsing", "indexing", "ready", "failed"])
def test_a_file_in_every_stage_is_a_file_object_of_the_sdk(stage: Stage) -> None:
    reason = Reason("encrypted_file", "It has a password.") if stage == "failed" else None
    shown = msgspec.json.encode(shapes.file_object(file(stage, reason=reason)))
    parsed = FileObject.model_validate_json(shown, strict=True)
    assert (parsed.bytes, parsed.created_at, parsed.expires_at) == (7, 12, 99)
    assert parsed.model_extra is not None
    assert parsed.model_extra["chatbackend_stage"] == stage
    assert parsed.status_details == (reason.message if reason else None)
    assert (parsed.model_extra["chatbackend_reason"] is not None) == (stage == "failed")


def test_a_deleted_file_is_told_so() -> None:
    assert FileDeleted.model_validate(shapes.deleted_object("file_1"), strict=True).deleted


@pytest.mark.parametrize("purpose", ["assistants", "user_data", "vision"])
def test_known_purposes_are_read(purpose: str) -> None:
    assert shapes.read_purpose(purpose) == purpose


@pytest.mark.parametrize("purpose", [None, "", "fine-tune", "batch", "evals", "Assistants"])
def test_other_purposes_are_refused(purpose: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shapes.read_purpose(purpose)
    assert caught.value.param == "purpose"


def form(anchor: str | None, seconds: str | None) -> dict[str, str]:
    given = {"expires_after[anchor]": anchor, "expires_after[seconds]": seconds}
    return {name: value for name, value in given.items() if value is not None}


def test_an_expiry_is_read() -> None:
    assert shapes.read_expiry({}) is None
    assert shapes.read_expiry(form("created_at", "3600")) == 3600


@pytest.mark.parametrize(
    "fields",
    [
        form("last_active_at", "3600"),
        form(None, "3600"),
        form("created_at", None),
        form("created_at", "3599"),
        form("created_at", "2592001"),
        form("created_at", "-5"),
        form("created_at", "1e5"),
        form("created_at", "٣٦٠٠"),
        form("created_at", "9" * 5000),
    ],
)
def test_a_wrong_expiry_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shapes.read_expiry(fields)
    assert caught.value.param == "expires_after"


@pytest.mark.parametrize("filename", ['a"b\\c.pdf', "bücher ./../x;y=z.pdf", "\r\nset-cookie: x", "日本.pdf"])
def test_no_file_name_breaks_out_of_its_header(filename: str) -> None:
    [value] = [value for name, value in shapes.content_headers(file(filename=filename)) if b"disposition" in name]
    prefix = b"attachment; filename*=UTF-8''"
    assert value.startswith(prefix)
    assert all(33 <= byte < 127 and byte not in b'";,\\' for byte in value[len(prefix) :])
