"""What an answer says, in any of the three APIs, streamed or whole: read out of its JSON by hand.

It shares nothing with the server under test, and reads a provider's recorded answer and what the server makes of it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_FINISH = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "content_filter": "filter",
    "refusal": "filter",
    "queued": "never",
}


@dataclass
class Reading:
    """Text, reasoning, (name, arguments) of each call, pages cited, (input, output) tokens, why it ended; or an error.

    Reasoning is without its empty lines: where its parts are joined differs. An answer with calls ended for them.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    urls: list[str] = field(default_factory=list[str])
    usage: tuple[int, int] | None = None
    finish: str = ""
    error: str | None = None


def read(api: str, body: str, *, streamed: bool) -> Reading:
    """Return what an answer says; a body without an answer in it is an error."""
    if not streamed:
        whole = json.loads(body)
        return _failed(whole) if whole.get("error") else _WHOLE[api](whole)
    events = [json.loads(line[5:]) for line in body.split("\n") if line.startswith("data:") and "[DONE]" not in line]
    failed = next((event for event in events if event.get("error") or event.get("type") == "error"), None)
    return _failed(failed) if failed else _STREAM[api](events)


def _failed(body: Json) -> Reading:
    error = body.get("error") or body
    return Reading(error=error if isinstance(error, str) else error["message"])


def _completion(whole: Json) -> Reading:
    choice, usage = whole["choices"][0], _object(whole, "usage")
    message, text = choice["message"], choice["message"].get("content") or ""
    calls = _objects(message, "tool_calls")
    return Reading(
        text,
        _thought([message.get("reasoning_content") or message.get("reasoning") or ""]),
        [_called(call["function"]) for call in calls],
        _marked(text, whole.get("citations") or []) + _annotated(message),
        (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None,
        _finish(choice["finish_reason"], calls),
    )


def _chunks(chunks: list[Json]) -> Reading:
    message: Json = {"content": "", "reasoning": "", "annotations": []}
    whole: Json = {}
    calls: dict[int, Json] = {}
    reason = ""
    for chunk in chunks:
        whole |= {name: chunk[name] for name in ("usage", "citations") if chunk.get(name)}
        for choice in chunk["choices"]:
            delta, reason = choice["delta"], choice.get("finish_reason") or reason
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
            message["annotations"] += _objects(delta, "annotations")
            for call in _objects(delta, "tool_calls"):
                said = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                for part in said:
                    said[part] += call["function"].get(part) or ""
    message["tool_calls"] = [{"function": call} for call in calls.values()]
    return _completion(whole | {"choices": [{"message": message, "finish_reason": reason}]})


def _message(whole: Json) -> Reading:
    blocks, usage = _objects(whole, "content"), whole["usage"]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    read_tokens = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Reading(
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        _thought(block["thinking"] for block in blocks if block["type"] == "thinking"),
        [(block["name"], block["input"]) for block in calls],
        [cited["url"] for block in blocks for cited in _objects(block, "citations") if "url" in cited],
        (sum(usage.get(name) or 0 for name in read_tokens), usage["output_tokens"]),
        _finish(whole["stop_reason"], calls),
    )


def _message_events(events: list[Json]) -> Reading:
    whole: Json = {}
    blocks: list[Json] = []
    for event in events:
        match event["type"]:
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                blocks.append(event["content_block"] | {"json": "", "citations": []})
            case "content_block_delta":
                place: int = event["index"]
                _grow(blocks[place], event["delta"])
            case "message_delta":
                counts = {name: count for name, count in event["usage"].items() if count is not None}
                whole |= event["delta"] | {"usage": whole["usage"] | counts}
            case _:
                pass
    return _message(whole | {"content": [block | _input(block["json"]) for block in blocks]})


def _grow(block: Json, delta: Json) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]
        case "citations_delta":
            block["citations"].append(delta["citation"])
        case _:
            pass


def _input(text: str) -> Json:
    return {"input": json.loads(text)} if text else {}


def _response(whole: Json) -> Reading:
    items, usage = _objects(whole, "output"), _object(whole, "usage")
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    thoughts, calls = ([item for item in items if item["type"] == kind] for kind in ("reasoning", "function_call"))
    paragraphs = [part for item in thoughts for part in _objects(item, "content") or _objects(item, "summary")]
    return Reading(
        "".join(part.get("text", "") for part in parts),
        _thought(part["text"] for part in paragraphs),
        [_called(item) for item in calls],
        [url for part in parts for url in _annotated(part)],
        (usage["input_tokens"], usage["output_tokens"]) if usage else None,
        _finish(_object(whole, "incomplete_details").get("reason") or whole["status"], calls),
    )


def _response_events(events: list[Json]) -> Reading:
    last = events[-1]
    return _failed(last["response"]) if last["type"] == "response.failed" else _response(last["response"])


def _object(whole: Json, name: str) -> Json:
    return whole.get(name) or {}


def _objects(whole: Json, name: str) -> list[Json]:
    return whole.get(name) or []


def _thought(parts: Iterable[str]) -> str:
    return "".join(parts).replace("\n\n", "")


def _finish(said: str, calls: list[Json]) -> str:
    return "calls" if calls else _FINISH[said]


def _called(call: Json) -> tuple[str, Any]:
    return call["name"], json.loads(call["arguments"] or "{}")


def _annotated(part: Json) -> list[str]:
    notes = [_object(note, "url_citation") or note for note in _objects(part, "annotations")]
    return [note["url"] for note in notes if "url" in note]


def _marked(text: str, urls: list[str]) -> list[str]:
    """Return the page of each `[n]`, in the order of the text."""
    places = sorted(
        (place, url)
        for number, url in enumerate(urls, 1)
        for place in range(len(text))
        if text.startswith(f"[{number}]", place)
    )
    return [url for _, url in places]


_WHOLE = {"chat": _completion, "messages": _message, "responses": _response}
_STREAM = {"chat": _chunks, "messages": _message_events, "responses": _response_events}
