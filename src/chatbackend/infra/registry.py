"""Names from the settings -> what implements them. A provider family is one entry here and one codec file."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.codec import Codec
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.models import ModelProfile


def bearer(key: str) -> dict[str, str]:
    """Return the header of OpenAI and most others; none for a server that wants no key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def x_api_key(key: str) -> dict[str, str]:
    """Return Anthropic's header."""
    return {"x-api-key": key}


@dataclass(frozen=True, slots=True)
class Family:
    """A provider family: the prefix of its models' names, its variables' prefix, its dialect, its facts.

    `key_variables` are the variables that may hold its key, the first that is set wins;
    `authorise` makes the headers that carry it. `relays`: it speaks
    Chat Completions, so such requests pass through as they are.
    """

    name: str
    variable: str
    key_variables: tuple[str, ...]
    codec: Callable[[ModelProfile], Codec]
    profile: ModelProfile
    authorise: Callable[[str], dict[str, str]] = field(default=bearer)
    relays: bool = False


FAMILIES = (
    Family(
        "openai",
        "OPENAI",
        ("OPENAI_API_KEY",),
        ChatCodec,
        ModelProfile(max_tokens_field="max_completion_tokens", accepts_files=True),
        relays=True,
    ),
    Family(
        "claude",
        "CLAUDE",
        ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
        ClaudeCodec,
        ModelProfile(context_window=200_000, default_max_tokens=8_192, accepts_files=True),
        authorise=x_api_key,
    ),
    Family("llama31", "LLAMA31", ("LLAMA31_API_KEY",), ChatCodec, ModelProfile(accepts_images=False), relays=True),
)
