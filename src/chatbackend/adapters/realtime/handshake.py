"""What a handshake of the Realtime protocol asks for: the model, and the dialect of the connection.

| path | model | dialect |
|---|---|---|
| `/v1/realtime?model=`, `/openai/v1/realtime?model=` | `model` | GA, or beta by header or subprotocol |
| `/openai/realtime?api-version=&deployment=` | `deployment`, else `model` | so, too; beta for any `...-preview` |

Source: the `openai` packages of Python and Node (resources/realtime, lib/azure), Azure's Realtime reference.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import Dialect

SUBPROTOCOL = "realtime"  # what a page offers beside its secret; nothing else is ever echoed
PREVIEW_PATH = "/openai/realtime"
_BETA_HEADER = "realtime=v1"
_BETA_OFFER = "openai-beta.realtime-v1"
_LATER = {
    "call_id": "Calls over WebRTC and SIP are not taken here, so there is none to join.",
    "intent": "A session for transcription alone is not taken here; a realtime session transcribes its input, too.",
}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The public name of the model, and what the client speaks. `subprotocol` is the one to answer with.

    `conversation`: the id of the one that the session is bound to.
    """

    model: str
    dialect: Dialect
    subprotocol: str | None
    conversation: str | None = None


def read(
    path: str,
    query: Mapping[str, Sequence[str]],
    *,
    offered: Collection[str],
    beta: str | None = None,
    default: str | None = None,
) -> Handshake:
    """Read a handshake; `offered` are its subprotocols, `beta` is its header `OpenAI-Beta`.

    `default`: the model where none is named. Raises: InvalidRequest.
    """
    for name, why in _LATER.items():
        if name in query:
            raise InvalidRequest(why, param=name, code="unsupported_parameter")
    preview = path == PREVIEW_PATH
    model = (_one(query, "deployment") if preview else None) or _one(query, "model") or default
    if not model:
        name = "deployment" if preview else "model"
        raise InvalidRequest(f"Name the model: ...?{name}=NAME.", param=name, code="missing_required_parameter")
    old = _BETA_OFFER in offered or _BETA_HEADER in (word.strip() for word in (beta or "").split(","))
    if preview and (_one(query, "api-version") or "").endswith("-preview"):
        old = True
    return Handshake(model, "beta" if old else "ga", SUBPROTOCOL if SUBPROTOCOL in offered else None)


def conversation_of(query: Mapping[str, Sequence[str]], held: str | None) -> str | None:
    """Return the conversation that a session is bound to; `held`: the only one that its secret is for.

    Raises: InvalidRequest, Forbidden.
    """
    asked = _one(query, "conversation")
    if held is not None and asked not in (None, held):
        message = "This client secret is for another conversation."
        raise Forbidden(message, param="conversation", code="conversation_not_allowed")
    return asked or held


def _one(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = set(query.get(name, ()))
    if len(values) > 1:
        raise InvalidRequest(f"'{name}' was sent with several values.", param=name)
    return values.pop() if values else None
