"""Perplexity's Sonar: Chat Completions that search the web and cite it.

Nothing is relayed: its chunks report usage again and again and end in a kind of their own, which clients of the dialect
add up or refuse; and its sources become citations only where they are read.

Source: https://docs.perplexity.ai/api-reference/sonar-post
"""

from chatbackend.adapters.providers.family import Address, Family
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.models import ModelProfile


def url(address: Address, path: str) -> str:
    """Return where a path is: directly at the host."""
    return address.endpoint.rstrip("/") + path


PERPLEXITY = Family(
    "perplexity",
    "PERPLEXITY",
    ChatCodec,
    ModelProfile(
        accepts_tools=False,
        accepts_json_object=False,
        accepts_stream_options=False,  # usage comes unasked
        alternates=True,
        thinking="none",
        refuses=frozenset(("stop", "seed", "top_logprobs", "parallel_tool_calls", "verbosity", "user")),
    ),
    url=url,
)
