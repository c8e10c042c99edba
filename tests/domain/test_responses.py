"""A response's states and how each end looks."""

from typing import get_args

import pytest

from chatbackend.domain.errors import (
    ChatError,
    Internal,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unavailable,
    UpstreamCut,
    UpstreamDenied,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    TERMINAL,
    TERMINAL_EVENTS,
    Failure,
    Outcome,
    Response,
    ResponseStatus,
    end,
    failed,
    interrupted,
)


def response() -> Response:
    return Response("resp_1", Principal("t", "app", "app", "key_1"), "local", 1)


@pytest.mark.parametrize("status", get_args(ResponseStatus))
def test_a_state_is_an_end_or_it_is_not(status: ResponseStatus) -> None:
    found = response()
    found.status = status
    assert found.ended == (status not in {"queued", "in_progress"})


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_end_has_one_of_the_three_terminal_events(status: ResponseStatus) -> None:
    found = response()
    found.status = status
    assert found.terminal_event in TERMINAL_EVENTS
    assert found.terminal_event == ("response.incomplete" if status == "cancelled" else f"response.{status}")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("x"), "rate_limit_exceeded"),
        (UpstreamOverloaded("x"), "rate_limit_exceeded"),
        (InvalidRequest("x"), "invalid_prompt"),
        (NotFound("x"), "invalid_prompt"),
        (UpstreamRefused("x"), "invalid_prompt"),
        (UpstreamDenied("x"), "server_error"),
        (UpstreamCut("x"), "server_error"),
        (UpstreamTimeout("x"), "server_error"),
        (Unavailable("x"), "server_error"),
        (Internal("x"), "server_error"),
    ],
)
def test_a_failure_has_a_code_of_the_apis_list(error: ChatError, code: str) -> None:
    assert failed(error) == Outcome("failed", failure=Failure(code, "x"))


def test_a_failure_keeps_the_errors_own_code_and_how_long_to_wait() -> None:
    found = failed(UpstreamOverloaded("x", retry_after_s=2.0, code="insufficient_quota"))
    assert found.detail == "insufficient_quota"
    assert found.failure is not None
    assert found.failure.retry_after_s == 2.0


@pytest.mark.parametrize(
    ("outcome", "completed_at"),
    [
        (COMPLETED, 9),
        (CANCELLED, None),
        (interrupted(), None),
        (failed(Internal("x")), None),
        (Outcome("incomplete", incomplete_reason="max_output_tokens"), None),
    ],
)
def test_an_end_is_taken_over_whole(outcome: Outcome, completed_at: int | None) -> None:
    found = response()
    end(found, outcome, at=9)
    assert (found.status, found.incomplete_reason, found.detail, found.failure) == (
        outcome.status,
        outcome.incomplete_reason,
        outcome.detail,
        outcome.failure,
    )
    assert found.completed_at == completed_at
    assert found.ended
