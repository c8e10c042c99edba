"""What a handshake of the Realtime protocol asks for: the model, and the dialect of the connection.

| path | model | dialect |
|---|---|---|
| `/v1/realtime?model=`, `/openai/v1/realtime?model=` | `model` | GA, or beta by header or subprotocol |
| `/openai/realtime?api-version=&deployment=` | `deployment`, else `model` | so, too; beta for any `...-preview` |
| `.../realtime/translations?model=` | `model` | GA |
| any but that one with `intent=transcription` | of whom writes down what is said; need not be named | as without |

Source: the `openai` packages of Python and Node (resources/realtime, lib/azure), Azure's Realtime reference.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import Dialect, RealtimeCall, SessionKind, Terms

SUBPROTOCOL = "realtime"  # what a page offers beside its secret; nothing else is ever echoed
PREVIEW_PATH = "/openai/realtime"
_TRANSLATIONS = "/realtime/translations"
FREE = Terms()
_BETA_HEADER = "realtime=v1"
_BETA_OFFER = "openai-beta.realtime-v1"


@dataclass(frozen=True, slots=True)
class Handshake:
    """The public name of the model, and what the client speaks. `subprotocol` is the one to answer with.

    `conversation`: the id of the one that the session is bound to. `renew`: it outlasts its provider's. `call`: the one
    that it is to be beside.
    """

    model: str
    dialect: Dialect
    subprotocol: str | None
    kind: SessionKind = "realtime"
    conversation: str | None = None
    renew: bool = False
    call: RealtimeCall | None = None


def read(
    path: str,
    query: Mapping[str, Sequence[str]],
    *,
    offered: Collection[str],
    beta: str | None = None,
    terms: Terms = FREE,
    transcriber: str | None = None,
) -> Handshake:
    """Read a handshake; `offered` are its subprotocols, `beta` is its header `OpenAI-Beta`.

    `terms` are those of its credential, whose model counts where none is named. `transcriber` is the model of a session
    for transcription that names none, either. Raises: InvalidRequest, Forbidden.
    """
    kind = _kind(path, query, terms)
    preview = path == PREVIEW_PATH
    model = (_one(query, "deployment") if preview else None) or _one(query, "model") or terms.model
    if kind == "transcription":
        model = model or transcriber
    if not model:
        name = "deployment" if preview else "model"
        raise InvalidRequest(f"Name the model: ...?{name}=NAME.", param=name, code="missing_required_parameter")
    old = _beta(offered, beta)
    if preview and (_one(query, "api-version") or "").endswith("-preview"):
        old = True
    if kind == "translation":  # newer than beta
        old = False
    conversation, renew = _conversation(query, terms), terms.renew or _one(query, "renew") == "1"
    if kind != "realtime" and (conversation or renew):
        message = "Sessions in which nobody answers are kept in no conversation, and not renewed."
        raise InvalidRequest(message, param="conversation" if conversation else "renew", code="unsupported_parameter")
    spoken = "beta" if old else "ga"
    return Handshake(model, spoken, _echo(offered), kind, conversation, renew)


def beside(call: RealtimeCall, *, offered: Collection[str], beta: str | None = None) -> Handshake:
    """Return what a handshake asks for that joins a call."""
    return Handshake(call.model, "beta" if _beta(offered, beta) else "ga", _echo(offered), call=call)


def _beta(offered: Collection[str], beta: str | None) -> bool:
    return _BETA_OFFER in offered or _BETA_HEADER in (word.strip() for word in (beta or "").split(","))


def _echo(offered: Collection[str]) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _kind(path: str, query: Mapping[str, Sequence[str]], terms: Terms) -> SessionKind:
    translates, intent = path.endswith(_TRANSLATIONS), _one(query, "intent")
    if intent is not None and (translates or intent != "transcription"):
        message = "The only intent that is known is 'transcription', and not of a translation."
        raise InvalidRequest(message, param="intent", code="unsupported_value")
    kind: SessionKind = "translation" if translates else "realtime"
    if intent is not None or (not translates and terms.kind == "transcription"):
        kind = "transcription"
    if terms.kind not in (None, kind):
        message = f"This client secret is for sessions of the type '{terms.kind}'."
        raise Forbidden(message, code="session_type_not_allowed")
    if translates and terms.max_tokens is not None:
        message = "This client secret bounds tokens, and nobody says how many a translation uses."
        raise Forbidden(message, code="session_type_not_allowed")
    return kind


def _conversation(query: Mapping[str, Sequence[str]], terms: Terms) -> str | None:
    asked, held = _one(query, "conversation"), terms.conversation
    if held is not None and asked not in (None, held):
        message = "This client secret is for another conversation."
        raise Forbidden(message, param="conversation", code="conversation_not_allowed")
    return asked or held


def _one(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = set(query.get(name, ()))
    if len(values) > 1:
        raise InvalidRequest(f"'{name}' was sent with several values.", param=name)
    return values.pop() if values else None
