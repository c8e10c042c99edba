"""OpenAI, and any server that speaks its Chat Completions.

Source: https://platform.openai.com/docs/models and its guide to reasoning models.
"""

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.counting import BY_RESPONSES
from chatbackend.adapters.providers.family import Address, Facts, Family
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.realtime.upstreams import RealtimeAddress, realtime_address, session_path, session_query
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.realtime import SessionKind

_SAMPLING = ("temperature", "top_p", "top_logprobs", "frequency_penalty", "presence_penalty", "logit_bias")
_REASONS = {"system_role": "developer", "refuses": [*_SAMPLING, "verbosity"], "max_output_tokens": 100_000}
# A model that is not reached by any pattern is taken at its word: servers of many makers stand behind this address.
FACTS: Facts = (
    (r"realtime", {"realtime": True}),
    (r"transcribe|whisper", {"transcribes": True, "realtime": False}),
    (r"realtime-translate", {"translates": True, "realtime": False}),
    (r"\b(gpt-3\.5|gpt-35|gpt-4|chatgpt)", {"thinking": "none", "refuses": ["reasoning_effort", "verbosity"]}),
    (r"\bgpt-4\.1", {"context_window": 1_047_576, "max_output_tokens": 32_768}),
    (r"\bo[134](-|$)", {**_REASONS, "context_window": 200_000}),
    (r"\bo(3|4-mini)(-|$)", {"refuses": [*_SAMPLING, "verbosity", "stop"]}),
    (
        r"\bo1-(mini|preview)",
        {"accepts_system": False, "accepts_tools": False, "accepts_images": False, "context_window": 128_000},
    ),
    (r"\bgpt-5", {**_REASONS, "context_window": 400_000, "max_output_tokens": 128_000, "refuses": []}),
    (r"\bgpt-5(-mini|-nano|-codex|-pro)?(-\d{4}-\d\d-\d\d)?$", {"refuses": [*_SAMPLING, "stop"]}),
    # From 5.1 on they sample as soon as they do not reason, which the request decides: the provider judges that.
    (r"\bgpt-5(\.\d+)?-chat", {"thinking": "none", "refuses": ["reasoning_effort", "verbosity"]}),
)


def realtime(address: Address, kind: SessionKind) -> RealtimeAddress:
    """Return where sessions with a model are."""
    query = session_query(kind, {"model": address.model})
    return realtime_address(endpoint_url(address.endpoint, session_path(kind)), query)


def calls(address: Address) -> str:
    """Return the address that calls are below."""
    return endpoint_url(address.endpoint, session_path("realtime"))


OPENAI = Family(
    "openai",
    "OPENAI",
    ChatCodec,
    ModelProfile(max_tokens_field="max_completion_tokens", accepts_files=True),
    FACTS,
    apis={"responses": ResponsesCodec},
    relays={"chat": "/chat/completions", "embeddings": "/embeddings"},
    counting=BY_RESPONSES,
    socket_codec=ResponsesCodec,
    realtime=realtime,
    calls=calls,
)
