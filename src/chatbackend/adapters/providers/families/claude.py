"""Claude, at Anthropic or any server that speaks its Messages API.

Source: https://platform.claude.com/docs/en/about-claude/models/overview, and on thinking.
"""

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.counting import BY_MESSAGES
from chatbackend.adapters.providers.family import Facts, Family
from chatbackend.domain.models import ModelProfile


def x_api_key(key: str) -> dict[str, str]:
    """Return Anthropic's header."""
    return {"x-api-key": key}


_FAMILY = r"claude-(opus|sonnet|haiku)"
_ALWAYS_THINKS = r"claude-(opus-4-[78]|opus-5-5|fable|mythos)"
# A model that is not reached by any pattern counts as one of the newest.
_FACTS: Facts = (
    (
        "claude-3",
        {
            "thinking": "none",
            "refuses": ["reasoning_effort"],
            "structured": "tool",
            "accepts_prefill": True,
            "default_max_tokens": 4_096,
            "max_output_tokens": 4_096,
        },
    ),
    ("claude-3-[57]", {"default_max_tokens": 8_192, "max_output_tokens": 8_192}),
    ("claude-3-7", {"thinking": "budget", "refuses": [], "max_output_tokens": 64_000}),
    (rf"{_FAMILY}-4(-|$)", {"thinking": "budget", "structured": "tool", "accepts_prefill": True}),
    (r"claude-opus-4(-[01])?(-2\d{7})?$", {"max_output_tokens": 32_000}),
    (rf"{_FAMILY}-4-5(-|$)|opus-4-1(-|$)", {"structured": "native"}),
    (rf"{_FAMILY}-4-[6-9](-|$)", {"thinking": "adaptive", "structured": "native", "accepts_prefill": False}),
    (r"claude-opus-4-[78](-|$)", {"refuses": ["temperature", "top_p", "top_k"]}),
    (_ALWAYS_THINKS, {"can_stop_thinking": False}),
)
CLAUDE = Family(
    "claude",
    "CLAUDE",
    ClaudeCodec,
    ModelProfile(
        context_window=200_000,
        max_output_tokens=64_000,
        default_max_tokens=8_192,
        accepts_files=True,
        accepts_json_object=False,
        accepts_open_schemas=False,
    ),
    _FACTS,
    keys=("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
    authorise=x_api_key,
    relays={"messages": "/v1/messages"},
    counting=BY_MESSAGES,
)
