"""Anthropic's official SDK on a server under test, with its own validation on."""

from anthropic import Anthropic, AsyncAnthropic

from tests.support.server import Server


def client(server: Server, key: str | None = None) -> Anthropic:
    """Return a strict client that tries once."""
    return Anthropic(base_url=server.url, api_key=key or server.key, max_retries=0, _strict_response_validation=True)


def async_client(server: Server, key: str | None = None) -> AsyncAnthropic:
    """Return a strict client that tries once."""
    return AsyncAnthropic(
        base_url=server.url, api_key=key or server.key, max_retries=0, _strict_response_validation=True
    )
