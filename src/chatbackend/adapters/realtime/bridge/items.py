"""Items of a Realtime conversation: read into the domain's, and shown.

What only sound has is refused. A status that a client gives means nothing, as the API says.
Source: the `openai` package, types/realtime/conversation_item.py.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import worded
from chatbackend.adapters.api.items import NewId
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputPart,
    InputText,
    Message,
    OutputText,
    Part,
    Refusal,
)

SessionItem = Message | FunctionCall | FunctionCallOutput
_Id = Annotated[str, Meta(min_length=1, max_length=64)]
_SOUND = frozenset(("input_audio", "output_audio", "audio"))
_DATA = "data:image/"


class _Part(Struct):
    """A part of a message's content; the type may be left out where it is the usual one."""

    type: str | None = None
    text: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class _Message(Struct, tag_field="type", tag="message"):
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[_Part], Meta(min_length=1)]
    id: _Id | None = None


class _FunctionCall(Struct, tag_field="type", tag="function_call"):
    name: str
    arguments: str
    id: _Id | None = None
    call_id: _Id | None = None


class _FunctionCallOutput(Struct, tag_field="type", tag="function_call_output"):
    call_id: _Id
    output: str
    id: _Id | None = None


def read(given: dict[str, Any], new_id: NewId, *, param: str) -> SessionItem:
    """Check an item that a client gives as the field `param`. Raises: InvalidRequest naming it."""
    try:
        found = msgspec.convert(given, _Message | _FunctionCall | _FunctionCallOutput)
    except msgspec.ValidationError as error:
        refusal = worded(error)
        refusal.param = f"{param}.{refusal.param}" if refusal.param else param
        raise refusal from error
    match found:
        case _Message(role="assistant"):
            return Message(found.id or new_id("msg"), "assistant", [_output(part, param) for part in found.content])
        case _Message(role=role):
            return Message(found.id or new_id("msg"), role, [_input(part, role, param) for part in found.content])
        case _FunctionCall(name=name, arguments=arguments):
            return FunctionCall(found.id or new_id("fc"), found.call_id or new_id("call"), name, arguments)
        case _FunctionCallOutput(call_id=call_id, output=output):
            return FunctionCallOutput(found.id or new_id("fco"), call_id, output)
        case _:
            assert_never(found)


def shown(item: SessionItem) -> dict[str, Any]:
    """Return an item as the API shows it."""
    head = {"id": item.id, "object": "realtime.item", "type": item.type, "status": item.status}
    match item:
        case Message(role=role, content=content):
            return {**head, "role": role, "content": [_part(part) for part in content]}
        case FunctionCall(call_id=call_id, name=name, arguments=arguments):
            return {**head, "call_id": call_id, "name": name, "arguments": arguments}
        case FunctionCallOutput(call_id=call_id, output=output):
            return {**head, "call_id": call_id, "output": output}
        case _:
            assert_never(item)


def plain_text(part: OutputText | Refusal) -> str:
    """Return what a part of an answer says: this API has no part of its own for words of refusal."""
    return part.refusal if isinstance(part, Refusal) else part.text


def _part(part: Part) -> dict[str, Any]:
    match part:
        case InputText(text=text):
            return {"type": "input_text", "text": text}
        case InputImage(image_url=url, detail=detail):
            return {"type": "input_image", "image_url": url, "detail": detail}
        case OutputText() | Refusal():
            return {"type": "output_text", "text": plain_text(part), **_sources(part)}
        case InputFile():  # pragma: no cover - nobody gives one here
            raise AssertionError
        case _:
            assert_never(part)


def _sources(part: OutputText | Refusal) -> dict[str, Sequence[object]]:
    """Return the citations of a text: a field of the Responses API that this one lacks."""
    return {"annotations": part.annotations} if isinstance(part, OutputText) and part.annotations else {}


def _input(part: _Part, role: str, param: str) -> InputPart:
    match part:
        case _Part(type="input_text" | None):
            return InputText(_text(part, param))
        case _Part(type="input_image") if role == "user":
            if part.image_url is None or not part.image_url.startswith(_DATA):
                raise _wrong(param, "An input_image needs an 'image_url' that holds the image as a data: URL.")
            return InputImage(part.image_url, detail=part.detail or "auto")
        case _:
            raise _foreign(part, role, param)


def _output(part: _Part, param: str) -> OutputText:
    if part.type not in ("output_text", None):
        raise _foreign(part, "assistant", param)
    return OutputText(_text(part, param))


def _text(part: _Part, param: str) -> str:
    if part.text is None:
        raise _wrong(param, "A text part needs 'text'.", code="missing_required_parameter")
    return part.text


def _foreign(part: _Part, role: str, param: str) -> InvalidRequest:
    if part.type in _SOUND:
        return _wrong(param, "This session is in text: it takes no sound.", code="unsupported_content")
    return _wrong(param, f"A message of role {role} holds no part of type '{str(part.type)[:64]}'.")


def _wrong(param: str, message: str, *, code: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, param=f"{param}.content", code=code)
