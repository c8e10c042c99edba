"""Steering: input for a response that runs. It stops at the end of an item, and its successor takes the input.

Source: the `openai` package, types/responses/response_steer_event.py and the events beside it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from chatbackend.domain.errors import ChatError, Conflict, InvalidRequest, NotFound, RateLimited
from chatbackend.domain.items import FunctionCall, Item
from chatbackend.domain.responses import INTERRUPTED, STEERED, Ask, Response

MAX_STEERS = 16  # that wait for one response
MAX_STEERED_BYTES = 8 * 2**20  # of their items' JSON, for one response

# queued: for the end of the response, and then for its successor; waiting: for a request that brings the outputs of
# the client's own tools; taken: by the automatic successor, joined: by a request of the client's, `successor_id` names
# which; failed: given back, `failure` says why.
SteerState = Literal["queued", "waiting", "taken", "joined", "failed"]


@dataclass(slots=True)
class Steer:
    """Accepted input for `response_id`. `given` is the input as it came (JSON), to be given back."""

    id: str
    response_id: str
    items: list[Item]
    given: bytes
    lane: str | None = None
    state: SteerState = "queued"
    successor_id: str | None = None
    failure: str | None = None


def refuse_unsteerable(response: Response, ask: Ask) -> None:
    """Refuse to steer what the API's definition leaves out. Raises: InvalidRequest `steering_not_supported`."""
    if response.conversation_id is not None:
        message = "A response of a conversation cannot be steered; cancel it and create the next one."
    elif ask.extra.get("context_management") is not None:
        message = "A response with automatic compaction cannot be steered; cancel it and create the next one."
    else:
        return
    raise InvalidRequest(message, param="previous_response_id", code="steering_not_supported")


def refuse_many(steers: int, size: int) -> None:
    """Refuse what is more than may wait for one response; `size` is in bytes. Raises: RateLimited."""
    if steers > MAX_STEERS or size > MAX_STEERED_BYTES:
        message = f"At most {MAX_STEERS} inputs, of {MAX_STEERED_BYTES} bytes in all, wait for one response."
        raise RateLimited(message, code="too_many_pending_steers")


def over(response: Response) -> ChatError:
    """Return the refusal of steering that came too late."""
    if response.status == "completed":
        message = "The response has completed; send the input with the next response.create."
        return Conflict(message, param="previous_response_id", code="response_already_completed")
    message = "The response has ended; send the input with the next response.create."
    return Conflict(message, param="previous_response_id", code="response_not_active")


def unknown(response_id: str) -> NotFound:
    """Return the refusal of steering for a response that this connection does not follow."""
    message = f"No response with id '{response_id}' runs on this connection."
    return NotFound(message, param="previous_response_id", code="response_not_found")


def open_calls(response: Response) -> list[FunctionCall]:
    """Return the calls that a response ended with: its client owes their outputs."""
    return [item for item in response.output if isinstance(item, FunctionCall)]


def fate(response: Response) -> Literal["queued", "waiting", "failed"]:
    """Return what becomes of the steering of an ended response: `queued` means that a successor takes it.

    One that its process broke off has one, too: its input was accepted, and is not lost with the process.
    """
    calls = open_calls(response)
    if response.status == "completed":
        return "waiting" if calls else "queued"
    cut = response.incomplete_reason == STEERED or response.detail == INTERRUPTED
    return "queued" if response.status == "incomplete" and cut and not calls else "failed"


def successor(response: Response, response_id: str, *, at: int) -> Response:
    """Return the response `response_id` that goes on from an ended one with its settings."""
    return Response(
        response_id,
        response.principal,
        response.model,
        at,
        store=response.store,
        background=response.background,
        previous_response_id=response.id,
        instructions=response.instructions,
        metadata=response.metadata,
        shown=response.shown,
        stream_id=response.stream_id,
    )


def successor_ask(ask: Ask, response: Response, *, context: list[Item] | None) -> Ask:
    """Return what the successor of an ended response asks, but for its input.

    `context` is what preceded an unstored one: nothing else knows it.
    """
    local = None if context is None else [*context, *ask.items, *response.output]
    return replace(ask, items=[], previous_response_id=response.id, local_context=local, steering="queued")
