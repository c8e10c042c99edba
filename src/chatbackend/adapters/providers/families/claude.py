"""Claude, at Anthropic or any server that speaks its Messages API.

Source: https://platform.claude.com/docs/en/about-claude/models/overview, and on thinking.
"""

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.family import Family
from chatbackend.domain.models import ModelProfile


def x_api_key(key: str) -> dict[str, str]:
    """Return Anthropic's header."""
    return {"x-api-key": key}


CLAUDE = Family(
    "claude",
    "CLAUDE",
    ClaudeCodec,
    ModelProfile(context_window=200_000, default_max_tokens=8_192, accepts_files=True),
    keys=("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
    authorise=x_api_key,
    relays={"messages": "/v1/messages"},
)
