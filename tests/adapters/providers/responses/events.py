"""Events of a provider's Responses API, as short as they can be written, and what is heard of them."""

import json
from typing import Any

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.answer import Answer
from chatbackend.domain.events import (
    Finished,
    ModelEvent,
)
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.responses import COMPLETED
from tests.adapters.providers.heard import Heard, hear, replay

CODEC = ResponsesCodec(ModelProfile())
ASKED = ModelRequest("m", [])
Json = dict[str, Any]
PAGE: Json = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
CITED = UrlCitation("https://x", "X", 0, 2)


def stream(*events: Json) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def event(kind: str, output_index: int | None = 0, **fields: object) -> Json:
    place = {} if output_index is None else {"output_index": output_index}
    return {"type": f"response.{kind}", "item_id": f"id_{output_index}", **place, **fields}


def delta(kind: str, text: str, output_index: int | None = 0, number: int = 0, **fields: object) -> Json:
    numbered = {"summary_index" if kind == "reasoning_summary_text" else "content_index": number}
    return event(f"{kind}.delta", output_index, delta=text, **numbered, **fields)


def words(text: str, output_index: int | None = 0, number: int = 0, **fields: object) -> Json:
    return delta("output_text", text, output_index, number, **fields)


def done(kind: str, text: str, output_index: int = 0, number: int = 0, **fields: object) -> Json:
    numbered = {"summary_index" if kind == "reasoning_summary_text" else "content_index": number}
    told = "refusal" if kind == "refusal" else "text"
    return event(f"{kind}.done", output_index, **{told: text}, **numbered, **fields)


def arguments(text: str, output_index: int | None = 0, item_id: str = "id_0") -> Json:
    return event("function_call_arguments.delta", output_index, delta=text) | {"item_id": item_id}


def added(item: Json, output_index: int | None = 0) -> Json:
    return event("output_item.added", output_index, item=item)


def ended(item: Json, output_index: int | None = 0) -> Json:
    return event("output_item.done", output_index, item=item)


def text_part(text: str, *annotations: Json, **fields: object) -> Json:
    return {"type": "output_text", "text": text, "annotations": list(annotations), **fields}


def message(*parts: Json, item_id: str = "id_0") -> Json:
    return {"type": "message", "id": item_id, "role": "assistant", "content": list(parts)}


def call(number: int = 0, text: str = "", **fields: object) -> Json:
    item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": "f", "arguments": text}
    return item | fields


def thought(*summary: str, proof: str | None = None, content: tuple[str, ...] = (), item_id: str = "id_0") -> Json:
    return {
        "type": "reasoning",
        "id": item_id,
        "summary": [{"type": "summary_text", "text": text} for text in summary],
        "content": [{"type": "reasoning_text", "text": text} for text in content],
        "encrypted_content": proof,
    }


def terminal(*output: Json, status: str = "completed", **fields: object) -> Json:
    return {"type": f"response.{status}", "response": {"status": status, "output": list(output), **fields}}


END = terminal()
FINISHED = Finished("stop")


def events_of(*events: Json) -> list[ModelEvent]:
    return replay(CODEC, stream(*events))


def heard(*events: Json) -> Heard:
    return hear(events_of(*events))


def whole(*output: Json, **fields: object) -> Heard:
    return hear(CODEC.whole(json.dumps({"status": "completed", "output": output, **fields}).encode(), ASKED))


def folded(events: list[ModelEvent]) -> Answer:
    answer = Answer(lambda prefix: prefix)
    for each in events:
        answer.feed(each)
    answer.close(COMPLETED)
    return answer
