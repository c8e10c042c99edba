"""How endpoints and codec paths join."""

import pytest

from chatbackend.adapters.providers.codec import WireRequest, endpoint_url


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.openai.com/v1", "/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com", "/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("http://127.0.0.1:11434/", "/chat/completions", "http://127.0.0.1:11434/v1/chat/completions"),
        ("https://api.groq.com/openai/v1/", "/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://x.y/v1beta/openai", "/chat/completions", "https://x.y/v1beta/openai/chat/completions"),
        ("https://api.anthropic.com", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://gate.example/anthropic", "/v1/messages", "https://gate.example/anthropic/v1/messages"),
    ],
)
def test_an_endpoint_works_however_much_of_it_was_written(base: str, path: str, url: str) -> None:
    assert endpoint_url(base, path) == url


def test_a_wire_request_shows_no_prompt() -> None:
    assert "secret" not in repr(WireRequest("/p", {}, b"secret"))
