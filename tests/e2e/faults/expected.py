"""What a caller is told when a provider fails: every fault, and the state it ends in. Data, meant to be read.

A fault is a script of the upstream. Before the first token it is an HTTP error of the caller's dialect (over a
Responses stream, which has begun by then, a `response.failed` without output); after it, the dialect's error inside
the stream, behind the text that came. A whole answer is always an HTTP error. Nothing ever looks like a success.
"""

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["responses", "chat", "messages"]
DIALECTS: tuple[Dialect, ...] = ("responses", "chat", "messages")

# The limits of the server, in seconds: far apart, so that it shows which one struck, and far above what work takes.
TIMEOUTS = {"connect_s": 1.0, "first_byte_s": 3.0, "first_token_s": 4.5, "between_s": 6.0, "total_s": 8.0}
SLACK_S = 6.0  # what a busy machine may add


@dataclass(frozen=True, slots=True)
class State:
    """How a failure looks: HTTP status, OpenAI's type and code; Anthropic's status and type; a failed response's code.

    A Responses request that did not stream is answered by what its response keeps: `failed_as` is that status, type
    and code.
    """

    status: int
    type: str
    code: str
    anthropic: tuple[int, str]
    response_code: str = "server_error"
    failed_as: tuple[int, str, str] = (502, "server_error", "server_error")


_INVALID, _LIMITED = (400, "invalid_request_error"), (429, "rate_limit_error")
BROKEN = State(502, "server_error", "upstream_error", (502, "api_error"))
CUT = State(502, "server_error", "upstream_cut", (502, "api_error"))
TIMED_OUT = State(504, "server_error", "upstream_timeout", (504, "timeout_error"))
DENIED = State(502, "server_error", "upstream_denied", (502, "api_error"))
_WAIT, _LONG = "rate_limit_exceeded", "context_length_exceeded"
LIMITED = State(*_LIMITED, _WAIT, _LIMITED, _WAIT, (*_LIMITED, _WAIT))
_FULL = (503, "server_error", "upstream_overloaded")
BUSY = State(*_FULL, (529, "overloaded_error"), _WAIT, _FULL)
REFUSED = State(*_INVALID, "invalid_prompt", _INVALID, "invalid_prompt", (*_INVALID, "invalid_prompt"))
_PROMPT = "invalid_prompt"
TOO_LARGE = State(
    413, _INVALID[1], "request_too_large", (413, "request_too_large"), _PROMPT, (413, _INVALID[1], "request_too_large")
)
UNPROCESSABLE = State(422, _INVALID[1], "unprocessable", (422, _INVALID[1]), _PROMPT, (*_INVALID, _PROMPT))
TOO_LONG = State(*_INVALID, _LONG, _INVALID, "invalid_prompt", (*_INVALID, _LONG))


@dataclass(frozen=True, slots=True)
class Fault:
    """A script, when it strikes, the state it ends in, and the limit that ends it (None: it ends itself).

    It strikes before the answer is accepted, between that and the first token, or after that.
    """

    script: str
    strikes: Literal["before", "opening", "after"]
    state: State
    limit: str | None = None

    @property
    def deadline_s(self) -> float:
        """Seconds within which the caller has been told."""
        return SLACK_S + (TIMEOUTS[self.limit] if self.limit else 0.0)


FAULTS = (
    Fault("status-400", "before", REFUSED),
    Fault("context-length", "before", TOO_LONG),
    Fault("status-401", "before", DENIED),
    Fault("status-413", "before", TOO_LARGE),
    Fault("status-422", "before", UNPROCESSABLE),
    Fault("status-429", "before", LIMITED),
    Fault("status-503", "before", BUSY),
    Fault("status-529", "before", BUSY),
    Fault("status-500", "before", BROKEN),
    Fault("wrong-type", "before", BROKEN),
    Fault("huge-headers", "before", BROKEN),
    Fault("no-headers", "before", TIMED_OUT, "first_byte_s"),
    Fault("silent", "opening", TIMED_OUT, "first_byte_s"),
    Fault("stall-at-0", "opening", TIMED_OUT, "first_token_s"),
    Fault("cut-before-first", "opening", CUT),
    Fault("truncated-at-0", "opening", CUT),
    Fault("garbage-0", "opening", BROKEN),
    Fault("error-at-0", "opening", BROKEN),
    Fault("stall-at-3", "after", TIMED_OUT, "between_s"),
    Fault("cut-at-40", "after", CUT),
    Fault("truncated-at-3", "after", CUT),
    Fault("cut-in-character", "after", CUT),
    Fault("garbage", "after", BROKEN),
    Fault("error-in-stream", "after", BROKEN),
    Fault("failed-at-3", "after", BROKEN),
    Fault("n12-false-done", "after", CUT),
    Fault("endless-d50", "after", TIMED_OUT, "total_s"),
    Fault("slow", "after", TIMED_OUT, "total_s"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told: the HTTP status, the error's type and code, where it stood, and whether text came."""

    status: int
    type: str
    code: str | None
    in_stream: bool = False
    text: bool = False


def expected(fault: Fault, dialect: Dialect, *, stream: bool, relayed: bool) -> Told:
    """Return what a caller of this dialect is told of a fault.

    A relayed body that ends too early is no JSON, and no more is known of it: every other call streams, where a cut is
    seen. The routes here have a `first_token_s`, so that a relayed stream, too, is held until its first token.
    """
    state, after = fault.state, stream and fault.strikes == "after"
    if relayed and not stream and fault.script.startswith("truncated"):
        state = BROKEN
    if dialect == "responses" and stream:
        return Told(200, "response.failed", state.response_code, in_stream=True, text=after)
    if dialect == "responses":
        return Told(*state.failed_as)
    if dialect == "messages":
        status, kind = state.anthropic
        return Told(200 if after else status, kind, None, in_stream=after, text=after)
    return Told(200 if after else state.status, state.type, state.code, in_stream=after, text=after)
