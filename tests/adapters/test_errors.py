"""The one table of errors is complete, and speaks the status, types and codes of both APIs."""

from collections.abc import Iterator
from typing import get_args

import pytest
from anthropic.types.shared.error_type import ErrorType

from chatbackend.adapters.errors import (
    TABLE,
    Mapped,
    anthropic,
    anthropic_envelope,
    body,
    code_of,
    envelope,
    failure,
    headers,
    mapped,
)
from chatbackend.domain import errors
from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    RateLimited,
    Unavailable,
    UpstreamBusy,
    UpstreamOverloaded,
)


def everything_below(kind: type[ChatError]) -> Iterator[type[ChatError]]:
    for child in kind.__subclasses__():
        yield child
        yield from everything_below(child)


OURS = [kind for kind in everything_below(ChatError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_has_a_row_of_its_own(kind: type[ChatError]) -> None:
    assert isinstance(TABLE[kind], Mapped)


def test_the_table_has_no_other_rows() -> None:
    assert set(TABLE) == set(OURS)


@pytest.mark.parametrize("row", TABLE.values())
def test_every_row_has_an_error_status_and_a_type_that_anthropic_knows(row: Mapped) -> None:
    assert 400 <= row.status < 600
    assert row.anthropic_type in {*get_args(ErrorType), "request_too_large"}  # its documentation has one more


def test_an_error_is_shown_with_its_field_and_the_code_of_its_class() -> None:
    error = NotFound("No such file.", param="file_id")
    assert mapped(error).status == 404
    shown = {"message": "No such file.", "type": "invalid_request_error", "param": "file_id", "code": "not_found"}
    assert body(error) == shown
    assert envelope(error) == {"error": shown}


def test_the_errors_own_code_comes_first() -> None:
    assert code_of(NotFound("x", code="response_not_found")) == "response_not_found"
    assert code_of(InvalidRequest("x")) is None


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (30, "30")])
def test_who_shall_wait_is_told_in_whole_seconds(seconds: float, header: str) -> None:
    assert headers(Unavailable("x", retry_after_s=seconds)) == {"retry-after": header}
    assert headers(RateLimited("x", retry_after_s=seconds)) == {"retry-after": header}


def test_who_shall_not_wait_gets_no_such_header() -> None:
    assert headers(RateLimited("x")) == {}
    assert headers(InvalidRequest("x")) == {}


def test_who_uses_a_wrong_method_is_told_the_right_ones() -> None:
    error = NotAllowed("PUT is not allowed.", allowed=("DELETE", "GET"))
    assert mapped(error).status == 405
    assert headers(error) == {"allow": "DELETE, GET"}


@pytest.mark.parametrize("kind", OURS)
def test_every_error_has_anthropics_envelope(kind: type[ChatError]) -> None:
    error = kind("No.", allowed=("GET",)) if issubclass(kind, NotAllowed) else kind("No.")
    status, said = anthropic(error)
    assert status == (529 if kind is UpstreamBusy else mapped(error).status)
    shown = {"type": "error", "error": {"type": said, "message": "No."}, "request_id": "req_1"}
    assert anthropic_envelope(error, "req_1") == shown


def test_anthropics_callers_are_told_whether_it_is_them_or_everyone() -> None:
    assert anthropic(UpstreamOverloaded("No.")) == (429, "rate_limit_error")
    assert anthropic(UpstreamBusy("No.")) == (529, "overloaded_error")


@pytest.mark.parametrize(
    ("code", "detail", "status"),
    [
        ("invalid_prompt", None, 400),
        ("invalid_prompt", "model_not_found", 404),
        ("invalid_prompt", "request_too_large", 413),
        ("rate_limit_exceeded", None, 429),
        ("rate_limit_exceeded", "upstream_overloaded", 503),
        ("server_error", "upstream_cut", 502),
    ],
)
def test_a_failed_response_has_the_status_of_what_went_wrong(code: str, detail: str | None, status: int) -> None:
    assert failure(code, detail)[0] == status
