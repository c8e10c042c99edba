"""The parts of a Chat Completions answer that we read; every other field is skipped unread.

One set of shapes serves chunks and whole answers. All fields may be missing or null: servers differ.
Source: `ChatCompletion` and `ChatCompletionChunk` in the `openai` package; the extras name their server.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from chatbackend.domain.usage import Usage

UNLIKELY = -9999.0  # what OpenAI says for "very unlikely"


class Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # an object: older Ollama


class ToolCall(Struct):
    index: int | None = None  # missing: Mistral, Gemini
    id: str | None = None  # missing: older Ollama, llama.cpp templates
    function: Function | None = None


class UrlPlace(Struct):
    url: str = ""
    title: str | None = None
    start_index: int = 0
    end_index: int = 0


class MessageAnnotation(Struct):
    url_citation: UrlPlace | None = None


class ContentPart(Struct):
    """Mistral's content parts: text, thinking (itself parts), references without text."""

    type: str = ""
    text: str | None = None
    thinking: "str | list[ContentPart] | None" = None


class Delta(Struct):
    """A chunk's delta or an answer's message."""

    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # DeepSeek, vLLM, llama.cpp
    reasoning: Any = None  # Groq, Ollama, OpenRouter: text; others put settings here
    tool_calls: list[ToolCall] | None = None
    annotations: list[MessageAnnotation] | None = None


class TokenProbability(Struct):
    """A token's log probability; servers leave out what they do not know."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: "list[TokenProbability] | None" = None

    def to_domain(self) -> dict[str, Any]:
        """Return it with everything that the Responses API demands."""
        return self._alone() | {"top_logprobs": [each._alone() for each in self.top_logprobs or ()]}

    def _alone(self) -> dict[str, Any]:
        known = list(self.token.encode("utf-8", "replace")) if self.bytes is None else self.bytes
        return {"token": self.token, "logprob": UNLIKELY if self.logprob is None else self.logprob, "bytes": known}


class Logprobs(Struct):
    content: list[TokenProbability] | None = None

    def to_domain(self) -> list[dict[str, Any]]:
        """Return the tokens' log probabilities."""
        return [each.to_domain() for each in self.content or ()]


class Choice(Struct):
    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class ChatUsage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    num_cached_tokens: int | None = None  # Mistral
    prompt_cache_hit_tokens: int | None = None  # DeepSeek

    def counts(self) -> bool:
        """Whether anything is reported; some servers send an empty object."""
        return self.prompt_tokens is not None or self.completion_tokens is not None

    def to_domain(self) -> Usage:
        prompt = self.prompt_tokens_details or PromptDetails()
        completion = self.completion_tokens_details or CompletionDetails()
        return Usage(
            input_tokens=self.prompt_tokens or 0,
            output_tokens=self.completion_tokens or 0,
            cached_tokens=prompt.cached_tokens or self.num_cached_tokens or self.prompt_cache_hit_tokens or 0,
            cache_write_tokens=prompt.cache_write_tokens or 0,
            reasoning_tokens=completion.reasoning_tokens or 0,
        )


class XGroq(Struct):
    """Groq's extra; `usage` stands here alone in its older streams."""

    usage: ChatUsage | None = None
    error: str | None = None


class Chunk(Struct):
    """A chunk of a stream, or a whole answer."""

    id: str | None = None
    object: str | None = None
    choices: list[Choice] | None = None
    usage: ChatUsage | None = None
    x_groq: XGroq | None = None
    error: Any = None
    citations: Raw = msgspec.field(default_factory=Raw)  # Perplexity: the URLs that [1], [2]... in the text stand for
    search_results: Raw = msgspec.field(default_factory=Raw)  # Perplexity: `Source`s, which have the titles


class Source(Struct):
    url: str = ""
    title: str | None = None
