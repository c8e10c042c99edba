"""A response: one generation for one request, from `queued` to exactly one terminal state."""

from dataclasses import dataclass, field
from typing import Any, Literal

from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    NotFound,
    RateLimited,
    UpstreamOverloaded,
    UpstreamRefused,
)
from chatbackend.domain.events import FinishReason
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item, OutputItem
from chatbackend.domain.models import AUTO, PLAIN, FunctionTool, TextFormat, ToolChoice
from chatbackend.domain.usage import Usage

ResponseStatus = Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
TERMINAL: frozenset[ResponseStatus] = frozenset(("completed", "failed", "incomplete", "cancelled"))
TERMINAL_EVENTS = frozenset(("response.completed", "response.failed", "response.incomplete"))

INTERRUPTED = "interrupted"
DEADLINE = "deadline_exceeded"
STEERED = "steered"  # the API's own reason
NUMBERS_PER_BLOCK = 1_000  # event numbers reserved in the truth ahead of use


@dataclass(frozen=True, slots=True)
class FileSearch:
    """The `file_search` tool of a request. `filters` is the API's filter tree, None for all files."""

    vector_store_ids: tuple[str, ...]
    max_results: int = 10
    score_threshold: float = 0.0
    filters: dict[str, Any] | None = None


@dataclass(slots=True)
class Ask:
    """What a client asks for: one validated `response.create`.

    `shown` holds the request's settings as the response object shows them (tools, text, reasoning...).
    `body` is the request without its input, as it is stored to be run again after a crash.
    `local_context` is what precedes the input where a socket knows it (chaining unstored responses);
    `stream_id` is the lane of the socket that asked; `steering` says which input that waits behind the previous
    response goes before its own: what is `queued` there (a successor), or `waiting` for the outputs of tools.
    """

    model: str
    items: list[Item]
    body: bytes
    shown: dict[str, Any]
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None
    store: bool = True
    background: bool = False
    generate: bool = True
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    tools: list[FunctionTool] = field(default_factory=list[FunctionTool])
    file_search: FileSearch | None = None
    include_search_results: bool = False
    tool_choice: ToolChoice = AUTO
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    text_format: TextFormat = PLAIN
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    verbosity: str | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    user: str | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    hints: dict[str, Any] = field(default_factory=dict[str, Any])
    local_context: list[Item] | None = None
    stream_id: str | None = None
    steering: Literal["queued", "waiting"] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a response failed: one of the API's error codes and a message for the user.

    `retry_after_s` is for who waits for this very end; it is not kept, since it is soon untrue.
    """

    code: str
    message: str
    retry_after_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Served:
    """Who answered: the deployment, after how many calls; `continued`: another went on where the first broke off."""

    deployment: str
    attempts: int = 1
    continued: bool = False


@dataclass(slots=True)
class Response:
    """A response as its owner sees it.

    `turn` orders the responses of one conversation (0 without one). `created_at` and `completed_at`
    are whole seconds since the epoch. `incomplete_reason` is the API's own word, `detail` ours
    (shown as `chatbackend_reason`), or the exact code of a failure where the API's list has a coarse one.
    `fence` says under which number its owner writes: a higher one shuts out a lower one.
    """

    id: str
    principal: Principal
    model: str
    created_at: int
    status: ResponseStatus = "queued"
    store: bool = True
    background: bool = False
    turn: int = 0
    previous_response_id: str | None = None
    conversation_id: str | None = None
    instructions: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    output: list[OutputItem] = field(default_factory=list[OutputItem])
    usage: Usage | None = None
    failure: Failure | None = None
    incomplete_reason: str | None = None
    detail: str | None = None
    completed_at: int | None = None
    stream_id: str | None = None  # a socket's lane, so that a later socket names it too
    served: Served | None = None
    fence: int = 0

    @property
    def ended(self) -> bool:
        """Whether the state is terminal."""
        return self.status in TERMINAL

    @property
    def terminal_event(self) -> str:
        """The type of the event that ends this response's stream (a cancelled one ends `incomplete`)."""
        return f"response.{'incomplete' if self.status == 'cancelled' else self.status}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a generation ended: what `Response` takes over when it becomes terminal."""

    status: ResponseStatus
    incomplete_reason: str | None = None
    detail: str | None = None
    failure: Failure | None = None


def failed(error: ChatError) -> Outcome:
    """Return the end that an error makes; the code is one of the API's own list, the error's own is the detail."""
    wait = None
    match error:
        case RateLimited() | UpstreamOverloaded():
            code, wait = "rate_limit_exceeded", error.retry_after_s
        case InvalidRequest() | NotFound() | UpstreamRefused():
            code = "invalid_prompt"
        case _:
            code = "server_error"
    return Outcome("failed", detail=error.code, failure=Failure(code, error.message, wait))


COMPLETED = Outcome("completed")
CANCELLED = Outcome("cancelled", detail="cancelled")
TURNED = Outcome("incomplete", incomplete_reason=STEERED)
_FINISHED: dict[FinishReason, Outcome] = {
    "stop": COMPLETED,
    "tool_calls": COMPLETED,
    "refusal": COMPLETED,
    "length": Outcome("incomplete", incomplete_reason="max_output_tokens"),
    "content_filter": Outcome("incomplete", incomplete_reason="content_filter"),
}


def finished(reason: FinishReason) -> Outcome:
    """Return the end of an answer that its provider has ended for this reason."""
    return _FINISHED[reason]


def interrupted() -> Outcome:
    """Return the end of a generation whose process died: never continued, never spliced."""
    return Outcome("incomplete", detail=INTERRUPTED)


def end(response: Response, outcome: Outcome, *, at: int) -> None:
    """Make `response` terminal at second `at`."""
    response.status = outcome.status
    response.incomplete_reason = outcome.incomplete_reason
    response.detail = outcome.detail
    response.failure = outcome.failure
    response.completed_at = at if outcome.status == "completed" else None
