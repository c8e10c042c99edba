"""Errors carry what their caller needs."""

import pytest

from chatbackend.domain.errors import ChatError, InvalidRequest, RateLimited, Unavailable, UpstreamOverloaded


def test_an_error_says_its_message_and_names_the_field() -> None:
    error = InvalidRequest("Too many.", param="items", code="too_many")
    assert (str(error), error.message, error.param, error.code) == ("Too many.", "Too many.", "items", "too_many")


@pytest.mark.parametrize("kind", [RateLimited, UpstreamOverloaded])
def test_who_is_over_a_limit_is_told_when_to_come_back_if_that_is_known(
    kind: type[RateLimited | UpstreamOverloaded],
) -> None:
    assert kind("Slow down.").retry_after_s is None
    assert kind("Slow down.", retry_after_s=2.5).retry_after_s == 2.5


def test_what_is_unavailable_is_so_for_a_second_unless_told_otherwise() -> None:
    error = Unavailable("Not now.", code="stopping")
    assert (error.retry_after_s, error.code) == (1.0, "stopping")
    assert isinstance(error, ChatError)
