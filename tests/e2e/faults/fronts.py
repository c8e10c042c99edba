"""Asking the server in each inbound dialect and reading what it tells, all held against the official SDKs' types."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from tests.e2e.faults.expected import Dialect, Told
from tests.support.openai_types import checked_event, checked_response

Json = dict[str, Any]
PATHS: dict[Dialect, str] = {
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
}
_MESSAGE_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


@dataclass(slots=True)
class Heard:
    """What one question brought. `told` is None where the answer ended well; `message` is the error's."""

    told: Told | None
    text: str = ""
    message: str = ""
    took_s: float = 0.0
    headers: httpx2.Headers = field(default_factory=httpx2.Headers, repr=False)


def body_of(dialect: Dialect, model: str, *, stream: bool) -> Json:
    """Return the plainest request of a dialect."""
    body: Json = {"model": model, "stream": stream}
    if dialect == "responses":
        return body | {"input": "x"}
    return (
        body | {"messages": [{"role": "user", "content": "x"}]} | ({"max_tokens": 64} if dialect == "messages" else {})
    )


async def ask(client: httpx2.AsyncClient, dialect: Dialect, model: str, *, stream: bool) -> Heard:
    """Ask once and hear the answer out. Raises: ValueError for anything that the SDK's types refuse."""
    began = time.monotonic()
    answer = await client.post(PATHS[dialect], json=body_of(dialect, model, stream=stream), headers=_headers(dialect))
    heard = _heard(dialect, answer, stream=stream)
    heard.took_s = time.monotonic() - began
    heard.headers = answer.headers
    return heard


def _headers(dialect: Dialect) -> dict[str, str]:
    return {"anthropic-version": "2023-06-01"} if dialect == "messages" else {}


def _heard(dialect: Dialect, answer: httpx2.Response, *, stream: bool) -> Heard:
    if answer.status_code != 200:
        return _refused(dialect, answer)
    if not stream:
        return _whole(dialect, answer.content)
    events = [_event(block) for block in answer.text.split("\n\n") if block.strip() and not block.startswith(":")]
    return {"responses": _responses, "chat": _chat, "messages": _messages}[dialect](events)


def _refused(dialect: Dialect, answer: httpx2.Response) -> Heard:
    body: Json = answer.json()
    error = body["error"]
    if dialect == "messages":
        assert (body["type"], set(error)) == ("error", {"type", "message"}), body
        return Heard(Told(answer.status_code, error["type"], None), message=error["message"])
    assert {"message", "type", "param", "code"} <= set(error), body
    return Heard(Told(answer.status_code, error["type"], error["code"]), message=error["message"])


def _whole(dialect: Dialect, body: bytes) -> Heard:
    match dialect:
        case "responses":
            response = checked_response(json.loads(body))
            return Heard(None, _output_text(response))
        case "chat":
            return Heard(None, ChatCompletion.model_validate_json(body).choices[0].message.content or "")
        case "messages":
            blocks = Message.model_validate_json(body).content
            return Heard(None, "".join(block.text for block in blocks if block.type == "text"))


def _event(block: str) -> tuple[str, str]:
    """Return the name and the data of an event."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
    return fields.get("event", ""), fields["data"]


def _responses(events: list[tuple[str, str]]) -> Heard:
    seen = [checked_event(data.encode()) for _, data in events]
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert [name for name, _ in events] == [event["type"] for event in seen]
    text = "".join(event["delta"] for event in seen if event["type"] == "response.output_text.delta")
    last: Json = seen[-1]
    response: Json = last["response"]
    assert _output_text(response) == text
    if last["type"] == "response.completed":
        return Heard(None, text)
    error: Json = response["error"] or {"code": None, "message": ""}
    return Heard(Told(200, last["type"], error["code"], in_stream=True, text=bool(text)), text, error["message"])


def _chat(events: list[tuple[str, str]]) -> Heard:
    text, error, done = "", None, False
    for _, data in events:
        assert not done
        assert error is None, "nothing follows an error"
        if data == "[DONE]":
            done = True
        elif "error" in (chunk := json.loads(data)):
            error = chunk["error"]
        else:
            # A relay passes on what Azure and Perplexity call the kind of their first and last chunk.
            choices = ChatCompletionChunk.model_validate(chunk | {"object": "chat.completion.chunk"}).choices
            text += "".join(choice.delta.content or "" for choice in choices)
    if error is None:
        return Heard(None if done else Told(200, "no end", None, in_stream=True, text=bool(text)), text)
    return Heard(Told(200, error["type"], error["code"], in_stream=True, text=bool(text)), text, error["message"])


def _messages(events: list[tuple[str, str]]) -> Heard:
    text, last = "", ""
    for name, data in events:
        assert last not in {"error", "message_stop"}, "nothing follows the end"
        last = name
        if name == "error":
            error: Json = json.loads(data)["error"]
            told = Told(200, error["type"], None, in_stream=True, text=bool(text))
            return Heard(told, text, error["message"])
        event = _MESSAGE_EVENT.validate_json(data) if name != "ping" else None
        if event is not None and event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return Heard(None if last == "message_stop" else Told(200, "no end", None, in_stream=True, text=bool(text)), text)


def _output_text(response: Json) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")
