"""The AsyncAPI document: the commands that sockets take and the events that they send.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from typing import Any

from chatbackend.adapters.api import openapi, realtime_channel
from chatbackend.adapters.api.conversation_events import DELETED, PREFIX
from chatbackend.adapters.api.schemas import (
    ANY,
    FLAG,
    NUMBER,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    Schema,
    kind,
    list_of,
    one_of,
    ref,
    said,
    whole,
)

_LANE = said({**TEXT, "pattern": "^[A-Za-z0-9_.-]{1,256}$"}, "The lane; left out on the unnamed one.")
_CONVERSATION: Schema = ref("Conversation")
_OUTPUT_ITEM: Schema = {"anyOf": [ref(name) for name in ("Message", "FunctionCall", "Reasoning", "FileSearchCall")]}
_ABOUT = (
    "Send `response.create` to ask; every event of the response comes back with its lane's `stream_id`. Lanes run side "
    "by side, requests within one in their order. A response belongs to the server: a closed socket stops nothing, and "
    "`chatbackend.resume` or `?resume=` goes on behind the last number that arrived. `chatbackend.*` events go only to "
    "clients that have sent a `chatbackend.*` command or connected with `?chatbackend=1`."
)


def document(*, version: str) -> dict[str, Any]:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Chat Backend General", "version": version, "description": _ABOUT},
        "servers": {
            "here": {
                "host": "127.0.0.1:8000",
                "protocol": "ws",
                "security": [_security("bearer"), _security("browser")],
            }
        },
        "channels": {
            "responses": _channel(),
            "realtime": realtime_channel.channel(),
            "translations": realtime_channel.translations(),
        },
        "operations": {
            "command": _operation("receive", commands()),
            "event": _operation("send", {**events(), **own_events(), **conversation_events()}),
            **realtime_channel.operations(),
        },
        "components": {
            "schemas": openapi.schemas(),
            "messages": {
                name: _message(name, shape) for name, shape in {**_messages(), **realtime_channel.messages()}.items()
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "browser": _browser()},
        },
    }


def commands() -> dict[str, Schema]:
    """Return what a client may send, by type."""
    key = whole("", ("idempotency_key",), idempotency_key={**TEXT, "minLength": 1, "maxLength": 255})
    create = whole("", ("stream_id", "chatbackend"), type=kind("response.create"), stream_id=_LANE, chatbackend=key)
    after = said({**WHOLE, "minimum": -1, "default": -1}, "Only events above this number; -1: from the start.")
    return {
        "response.create": said(
            {"allOf": [ref("CreateRequest"), create]},
            "Create a response. `stream` means nothing here, `background` is refused; `generate: false` makes a "
            "response without output, to be continued.",
        ),
        "response.steer": whole(
            "Give a response that runs on this connection further input: a text, or messages of the user. It stops "
            "at the end of the item that it is making, and a successor goes on with the input.",
            type=kind("response.steer"),
            previous_response_id=TEXT,
            input=ANY,
        ),
        "chatbackend.cancel": whole("Stop a response.", type=kind("chatbackend.cancel"), response_id=TEXT),
        "chatbackend.resume": whole(
            "Follow a response, in the lane that it was asked on.",
            ("starting_after",),
            type=kind("chatbackend.resume"),
            response_id=TEXT,
            starting_after=after,
        ),
        "chatbackend.subscribe": whole(
            "Follow a conversation, from its state's `last_event` on; at most 64 at once on one connection.",
            ("after",),
            type=kind("chatbackend.subscribe"),
            conversation=TEXT,
            after=after,
        ),
        "chatbackend.unsubscribe": whole(
            "Follow a conversation no more.", type=kind("chatbackend.unsubscribe"), conversation=TEXT
        ),
    }


def events() -> dict[str, Schema]:
    """Return the numbered events of a response, by type: on SSE the same, without `stream_id`."""
    shapes = {**_lifecycle(), **_of_items(), **_of_text(), **_of_reasoning(), **_of_tools()}
    return {name: _numbered(name, fields) for name, fields in shapes.items()}


def own_events() -> dict[str, Schema]:
    """Return the events that belong to no response's numbering, by type."""
    error = whole("", ("headers",), message=TEXT, type=TEXT, param=TEXT_OR_NULL, code=TEXT_OR_NULL, headers=ANY)
    return {
        "error": whole(
            "A command or a connection's cursor went wrong; the socket stays open.",
            ("stream_id", "response_id", "conversation_id"),
            type=kind("error"),
            status=WHOLE,
            error=error,
            response_id=TEXT,
            conversation_id=TEXT,
            stream_id=_LANE,
        ),
        "chatbackend.cancelled": whole(
            "Answers `chatbackend.cancel`: how the response has ended.",
            ("stream_id",),
            type=kind("chatbackend.cancelled"),
            response_id=TEXT,
            status=one_of("completed", "failed", "incomplete", "cancelled"),
            stream_id=_LANE,
        ),
        "chatbackend.reset": whole(
            "The cursor cannot be served exactly: throw away what you have of this response, or of this conversation "
            "(which comes with its state); it is this now.",
            ("stream_id", "response_id", "response", "conversation_id", "conversation"),
            type=kind("chatbackend.reset"),
            response_id=TEXT,
            response=ref("Response"),
            conversation_id=TEXT,
            conversation=ref("Conversation"),
            stream_id=_LANE,
        ),
        "chatbackend.draining": whole(
            "The server stops: it takes nothing new, lets what runs end for so many seconds, and closes with 1012. "
            "Connect again, with cursors.",
            type=kind("chatbackend.draining"),
            seconds=NUMBER,
        ),
        **_of_subscriptions(),
        **_of_steering(),
    }


def _of_steering() -> dict[str, Schema]:
    accepted, number = whole(id=TEXT, previous_response_id=TEXT), said(WHOLE, "Of the newest event; none of its own.")
    stub = whole(type=kind("function_call_output"), call_id=TEXT, name=TEXT)
    return {
        "response.steer.accepted": whole(
            "The server owns the input. The `response.created` of the successor that takes it follows by itself.",
            ("stream_id",),
            type=kind("response.steer.accepted"),
            sequence_number=number,
            steer=accepted,
            stream_id=_LANE,
        ),
        "response.steer.pending": whole(
            "The input waits for the outputs of these calls: send them in the same lane, with the response as "
            "`previous_response_id`; the input goes before them.",
            ("stream_id",),
            type=kind("response.steer.pending"),
            sequence_number=number,
            reason=kind("waiting_for_required_input"),
            required_input=list_of(stub),
            steer=accepted,
            stream_id=_LANE,
        ),
        "response.steer.failed": whole(
            "Gives input back that was not taken; one that had been accepted has its id.",
            ("stream_id",),
            type=kind("response.steer.failed"),
            sequence_number=number,
            error=whole(type=TEXT, code=TEXT, message=TEXT),
            steer=whole("", ("id",), id=TEXT, previous_response_id=TEXT, input=ANY),
            stream_id=_LANE,
        ),
    }


def _of_subscriptions() -> dict[str, Schema]:
    return {
        "chatbackend.subscribed": whole(
            "Answers `chatbackend.subscribe`: the conversation's events above `after` follow.",
            type=kind("chatbackend.subscribed"),
            conversation_id=TEXT,
            after=WHOLE,
        ),
        "chatbackend.unsubscribed": whole(
            "Answers `chatbackend.unsubscribe`: no event of the conversation follows.",
            type=kind("chatbackend.unsubscribed"),
            conversation_id=TEXT,
        ),
    }


def conversation_events() -> dict[str, Schema]:
    """Return the events of a conversation's log, by type: the same on a socket and by `GET .../events`."""
    item: dict[str, Schema] = {"item_id": TEXT, "turn": WHOLE, "response_id": TEXT_OR_NULL}
    shapes: dict[str, tuple[str, dict[str, Schema]]] = {
        "item.added": ("An item came in, behind all items of its turn and of earlier ones.", item),
        "item.deleted": ("An item was taken out.", {"item_id": TEXT}),
        "response.created": ("A response took a turn.", {"response_id": TEXT, "turn": WHOLE}),
        "response.ended": (
            "A response ended.",
            {"response_id": TEXT, "status": one_of("completed", "failed", "incomplete", "cancelled")},
        ),
        "updated": ("Its title, its metadata or whether it is archived has changed.", {"conversation": _CONVERSATION}),
    }
    place: dict[str, Schema] = {"sequence_number": WHOLE, "conversation_id": TEXT, "at": SECONDS}
    numbered = {
        f"{PREFIX}{name}": whole(about, type=kind(f"{PREFIX}{name}"), **place, **fields)
        for name, (about, fields) in shapes.items()
    }
    gone = whole("The conversation is deleted: no event follows.", type=kind(DELETED), conversation_id=TEXT)
    return {**numbered, DELETED: gone}


def _numbered(name: str, fields: dict[str, Schema]) -> Schema:
    shape: dict[str, Schema] = {"type": kind(name), "sequence_number": WHOLE, **fields, "stream_id": _LANE}
    return whole("", ("stream_id",), **shape)


def _lifecycle() -> dict[str, dict[str, Schema]]:
    states = ("created", "queued", "in_progress", "completed", "failed", "incomplete")
    return {f"response.{state}": {"response": ref("Response")} for state in states}


def _of_items() -> dict[str, dict[str, Schema]]:
    item: dict[str, Schema] = {"output_index": WHOLE, "item": _OUTPUT_ITEM}
    return {"response.output_item.added": item, "response.output_item.done": item}


def _of_text() -> dict[str, dict[str, Schema]]:
    place: dict[str, Schema] = {"item_id": TEXT, "output_index": WHOLE, "content_index": WHOLE}
    part = {**place, "part": {"anyOf": [ref("OutputText"), ref("Refusal"), ref("ReasoningText")]}}
    annotation: Schema = {"anyOf": [ref("FileCitation"), ref("UrlCitation")]}
    logprobs = list_of({"type": "object"})
    return {
        "response.content_part.added": part,
        "response.content_part.done": part,
        "response.output_text.delta": {**place, "delta": TEXT, "logprobs": logprobs},
        "response.output_text.done": {**place, "text": TEXT, "logprobs": logprobs},
        "response.output_text.annotation.added": {**place, "annotation_index": WHOLE, "annotation": annotation},
        "response.refusal.delta": {**place, "delta": TEXT},
        "response.refusal.done": {**place, "refusal": TEXT},
        "response.reasoning_text.delta": {**place, "delta": TEXT},
        "response.reasoning_text.done": {**place, "text": TEXT},
    }


def _of_reasoning() -> dict[str, dict[str, Schema]]:
    place: dict[str, Schema] = {"item_id": TEXT, "output_index": WHOLE, "summary_index": WHOLE}
    part = {**place, "part": ref("SummaryText")}
    return {
        "response.reasoning_summary_part.added": part,
        "response.reasoning_summary_part.done": part,
        "response.reasoning_summary_text.delta": {**place, "delta": TEXT},
        "response.reasoning_summary_text.done": {**place, "text": TEXT},
    }


def _of_tools() -> dict[str, dict[str, Schema]]:
    place: dict[str, Schema] = {"item_id": TEXT, "output_index": WHOLE}
    searches = {f"response.file_search_call.{stage}": place for stage in ("in_progress", "searching", "completed")}
    return {
        "response.function_call_arguments.delta": {**place, "delta": TEXT},
        "response.function_call_arguments.done": {**place, "name": TEXT, "arguments": TEXT},
        **searches,
    }


def _messages() -> dict[str, Schema]:
    return {**commands(), **events(), **own_events(), **conversation_events()}


def _message(name: str, shape: Schema) -> dict[str, Any]:
    message: dict[str, Any] = {"name": name, "title": name, "contentType": "application/json", "payload": shape}
    return {**message, "summary": shape["description"]} if "description" in shape else message


def _channel() -> dict[str, Any]:
    query = {
        "type": "object",
        "properties": {
            "resume": said(list_of(TEXT), "Responses to follow from the start of the connection, repeatable."),
            "starting_after": said(list_of(NUMBER), "For each `resume` in order, or none at all."),
            "chatbackend": said(FLAG, "`1`: send me `chatbackend.*` events."),
        },
    }
    return {
        "address": "/v1/responses",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages()},
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }


def _operation(action: str, shapes: dict[str, Schema]) -> dict[str, Any]:
    channel = "#/channels/responses"
    messages = [{"$ref": f"{channel}/messages/{name}"} for name in shapes]
    return {"action": action, "channel": {"$ref": channel}, "messages": messages}


def _browser() -> dict[str, str]:
    about = "`realtime, openai-insecure-api-key.<client secret>`, as pages send it; only `realtime` comes back."
    return {"type": "httpApiKey", "in": "header", "name": "Sec-WebSocket-Protocol", "description": about}


def _security(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/securitySchemes/{name}"}
