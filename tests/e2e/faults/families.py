"""The provider families, as an operator configures each to talk to the scripted upstream."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.e2e.faults.expected import Dialect


@dataclass(frozen=True, slots=True)
class Family:
    """A family: its variables (`{url}` is the upstream), how its models' names begin, whose requests are relayed."""

    name: str
    variables: Mapping[str, str]
    prefix: str
    relays: tuple[Dialect, ...] = ("chat",)

    def environment(self, url: str) -> dict[str, str]:
        """Return the server's settings for an upstream at `url`."""
        return {name: value.format(url=url) for name, value in self.variables.items()}


_OPENAI = {"OPENAI_ENDPOINT": "{url}/v1", "OPENAI_API_KEY": "sk-upstream"}
_AZURE = {"AZURE_OPENAI_ENDPOINT": "{url}", "AZURE_OPENAI_API_KEY": "sk-upstream"}
_CLAUDE = {"CLAUDE_ENDPOINT": "{url}", "CLAUDE_API_KEY": "sk-upstream"}
_PERPLEXITY = {"PERPLEXITY_ENDPOINT": "{url}", "PERPLEXITY_API_KEY": "sk-upstream"}
FAMILIES = {
    family.name: family
    for family in (
        Family("openai", _OPENAI, "openai/"),
        Family("openai-responses", _OPENAI | {"OPENAI_API": "responses"}, "openai/"),
        Family("openai-socket", _OPENAI | {"OPENAI_API": "responses", "OPENAI_TRANSPORT": "websocket"}, "openai/"),
        Family("azure", _AZURE | {"AZURE_OPENAI_API_VERSION": "2024-10-21"}, "azure/"),
        Family("azure-responses", _AZURE | {"AZURE_OPENAI_API": "responses"}, "azure/"),
        Family("claude", _CLAUDE, "claude/", relays=("messages",)),
        Family("llama31", {"LLAMA31_ENDPOINT": "{url}/v1"}, "llama31/"),
        Family("perplexity", _PERPLEXITY, "perplexity/", relays=()),
    )
}
