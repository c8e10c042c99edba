"""What the scripted Realtime provider says: GA as the `openai` package types it, and the beta protocol before it."""

import re
import secrets
import time
from collections.abc import Generator, Iterator
from itertools import count
from typing import Any

Event = dict[str, Any]

_BETA = {"output_text": "text", "output_audio": "audio", "output_audio_transcript": "audio_transcript"}
SESSION: Event = {
    "type": "realtime",
    "object": "realtime.session",
    "output_modalities": ["audio"],
    "instructions": "The vendor's own words.",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {"type": "server_vad", "create_response": True, "interrupt_response": True},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
    },
}
BETA_SESSION: Event = {
    "object": "realtime.session",
    "modalities": ["text", "audio"],
    "instructions": "The vendor's own words.",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": None,
    "turn_detection": {"type": "server_vad"},
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
}
TRANSCRIPTION: Event = {
    "type": "transcription",
    "object": "realtime.transcription_session",
    "include": None,
    "audio": {"input": {**SESSION["audio"]["input"], "turn_detection": {"type": "server_vad"}}},
}
BETA_TRANSCRIPTION: Event = {
    "object": "realtime.transcription_session",
    "input_audio_format": "pcm16",
    "input_audio_transcription": None,
    "turn_detection": {"type": "server_vad"},
}
_GA_ONLY = frozenset(SESSION) - frozenset(BETA_SESSION)
_BETA_ONLY = frozenset(BETA_SESSION) - frozenset(SESSION)
USAGE: Event = {
    "total_tokens": 18,
    "input_tokens": 11,
    "output_tokens": 7,
    "input_token_details": {"text_tokens": 11, "audio_tokens": 0, "cached_tokens": 4},
    "output_token_details": {"text_tokens": 7, "audio_tokens": 0},
}
TRANSCRIPTION_USAGE: Event = {"type": "tokens", "total_tokens": 25, "input_tokens": 21, "output_tokens": 4}


class Spelling:
    """One session's state and words."""

    def __init__(self, model: str, *, beta: bool, transcribes: bool = False) -> None:
        self.script = model
        self.beta = beta
        self.transcribes = transcribes
        self.active: str | None = None
        self.metadata: Event | None = None
        lasts = re.search(r"lasts-(\d+)", model)
        facts = {
            "id": f"sess_{secrets.token_hex(4)}",
            "expires_at": int(time.time()) + (int(lasts[1]) if lasts else 3600),
        }
        if transcribes:
            self.session: Event = {**(BETA_TRANSCRIPTION if beta else TRANSCRIPTION), **facts}
        else:
            self.session = {**(BETA_SESSION if beta else SESSION), **facts, "model": "gpt-realtime-vendor"}
        self.items: dict[str, Event] = {}
        self._last: str | None = None
        self._numbers = count()

    @property
    def pause_s(self) -> float:
        """How long it takes for each event of an answer."""
        pause = re.search(r"\bd(\d+)\b", self.script)
        return int(pause[1]) / 1000 if pause else 0.0

    @property
    def transcriber(self) -> str | None:
        """What writes down what is said."""
        place: Event = self.session if self.beta else self.session["audio"]["input"]
        configured: Event = place["input_audio_transcription" if self.beta else "transcription"] or {}
        return configured.get("model")

    def session_event(self, kind: str) -> Event:
        """Return the session, told anew."""
        told = f"transcription_{kind}" if self.transcribes and self.beta else kind
        return self._event(told, session=dict(self.session))

    def error(self, kind: str, message: str, code: str | None, about: object = None) -> Event:
        """Return an error event."""
        error = {"type": kind, "message": message, "code": code, "param": None, "event_id": about}
        return self._event("error", error=error)

    def answer(self, event: Event) -> list[Event]:
        """Return what one event of the client's is answered with at once; a generation comes by `generation`."""
        if self.transcribes and str(event.get("type")).startswith(("response.", "conversation.")):
            message = "Not in a transcription session."
            return [self.error("invalid_request_error", message, "invalid_value", event.get("event_id"))]
        long = _too_long(event.get("item") or {})
        if long is not None:
            message = f"Invalid 'item.{long}': string too long. Expected a string with maximum length 32."
            return [self.error("invalid_request_error", message, "string_above_max_length", event.get("event_id"))]
        update = "transcription_session.update" if self.transcribes and self.beta else "session.update"
        return self._updated(event) if event.get("type") == update else self._answer(event)

    def _answer(self, event: Event) -> list[Event]:
        match event.get("type"):
            case "conversation.item.create" if (long := _too_long(event["item"])) is not None:
                message = f"Invalid 'item.{long}': string too long. Expected a string with maximum length 32."
                return [self.error("invalid_request_error", message, "string_above_max_length", event.get("event_id"))]
            case "conversation.item.delete" | "conversation.item.retrieve" as kind:
                return [self._about_item(kind, event)]
            case "conversation.item.create":
                return self._told(self._added({**event["item"], "status": "completed"}))
            case "conversation.item.truncate":
                cut = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
                return [self._event("conversation.item.truncated", **cut)]
            case "input_audio_buffer.append" | "input_audio_buffer.clear":
                return []
            case "input_audio_buffer.commit":
                return self._committed()
            case "response.create":
                return self._begun(event)
            case "response.cancel":
                return self._cancelled(event)
            case kind:
                return [
                    self.error("invalid_request_error", f"Unknown type {kind}", "invalid_value", event.get("event_id"))
                ]

    def generation(self) -> Iterator[Event]:
        """Yield the events of the answer that has begun."""
        response_id = self.active
        if response_id is None:
            return
        yield self._event("response.created", response=self._response(response_id, "in_progress", []))
        tool = next((tool for tool in self.session["tools"] if tool["type"] == "function"), None)
        answered = any(item["type"] == "function_call_output" for item in self.items.values())
        calls = "call" in self.script and tool is not None and not answered
        item: Event = yield from self._call(response_id, tool["name"]) if calls and tool else self._text(response_id)
        if "never" in self.script or self.active != response_id:
            return
        self.active = None
        done = self._response(response_id, "completed", [item], usage=USAGE)
        yield self._event("response.done", response=done)

    def _text(self, response_id: str) -> Generator[Event, None, Event]:
        tokens = re.search(r"\bn(\d+)\b", self.script)
        salt = f"s{secrets.token_hex(3)}"
        parts = [f"{salt}:{number} " for number in range(int(tokens[1]) if tokens else 3)]
        item: Event = {"id": self._id("item"), "type": "message", "role": "assistant", "content": []}
        where = {"response_id": response_id, "item_id": item["id"], "output_index": 0, "content_index": 0}
        yield from self._item_begun(response_id, item)
        yield self._event("response.content_part.added", part={"type": "text", "text": ""}, **where)
        for part in parts:
            yield self._event(self._name("output_text", "delta"), delta=part, **where)
        text = "".join(parts)
        yield self._event(self._name("output_text", "done"), text=text, **where)
        yield self._event("response.content_part.done", part={"type": "text", "text": text}, **where)
        item["content"] = [{"type": "text" if self.beta else "output_text", "text": text}]
        yield from self._item_done(response_id, item)
        return item

    def _call(self, response_id: str, name: str) -> Generator[Event, None, Event]:
        call_id, arguments = f"call_{secrets.token_hex(4)}", '{"query": "canary"}'
        item: Event = {
            "id": self._id("item"),
            "type": "function_call",
            "name": name,
            "call_id": call_id,
            "arguments": "",
        }
        where = {"response_id": response_id, "item_id": item["id"], "output_index": 0, "call_id": call_id}
        yield from self._item_begun(response_id, item)
        yield self._event("response.function_call_arguments.delta", delta=arguments, **where)
        named = {} if self.beta else {"name": name}
        yield self._event("response.function_call_arguments.done", arguments=arguments, **named, **where)
        item["arguments"] = arguments
        yield from self._item_done(response_id, item)
        return item

    def _item_begun(self, response_id: str, item: Event) -> Iterator[Event]:
        begun = {**item, "status": "in_progress"}
        self._last, previous = item["id"], self._last
        yield self._event("response.output_item.added", response_id=response_id, output_index=0, item=begun)
        kind = "conversation.item.created" if self.beta else "conversation.item.added"
        yield self._event(kind, previous_item_id=previous, item=begun)

    def _item_done(self, response_id: str, item: Event) -> Iterator[Event]:
        item["status"] = "completed"
        self.items[item["id"]] = item
        if not self.beta:
            yield self._event("conversation.item.done", previous_item_id=None, item=item)
        yield self._event("response.output_item.done", response_id=response_id, output_index=0, item=item)

    def _updated(self, event: Event) -> list[Event]:
        given = event["session"]
        if not self.beta and (kind := "transcription" if self.transcribes else "realtime") != given.get("type", kind):
            message = f"Passing a {given['type']} session update event to a {kind} session is not allowed."
            return [self.error("invalid_request_error", message, "invalid_parameter", event.get("event_id"))]
        foreign = _GA_ONLY if self.beta else _BETA_ONLY
        unknown = next((name for name in given if name in foreign), None)
        if unknown is None and not self.beta and "type" not in given:
            unknown = "type"
        if unknown is not None:
            message = f"Unknown or missing parameter: 'session.{unknown}'."
            return [self.error("invalid_request_error", message, "unknown_parameter", event.get("event_id"))]
        self.session = _merged(self.session, given)
        return [self.session_event("session.updated")]

    def _committed(self) -> list[Event]:
        item: Event = {"type": "message", "role": "user", "status": "completed"}
        item["content"] = [{"type": "input_audio", "transcript": None}]
        item = self._added(item)
        committed = self._event("input_audio_buffer.committed", previous_item_id=None, item_id=item["id"])
        kind = "conversation.item.input_audio_transcription.completed"
        heard = self._event(
            kind, item_id=item["id"], content_index=0, transcript="What was said.", usage=dict(TRANSCRIPTION_USAGE)
        )
        said = [committed, *self._told(item)]
        if not self.transcribes:
            return [*said, heard]
        if not self.transcriber:
            return said
        delta = self._event(f"{kind.rpartition('.')[0]}.delta", item_id=item["id"], content_index=0, delta="What was ")
        return [*said, delta, heard]

    def _begun(self, event: Event) -> list[Event]:
        if self.active is not None:
            code = "conversation_already_has_active_response"
            return [self.error("invalid_request_error", "One is active.", code, event.get("event_id"))]
        self.active = self._id("resp")
        asked: Event = event.get("response") or {}
        self.metadata = asked.get("metadata")
        return []

    def _cancelled(self, event: Event) -> list[Event]:
        if self.active is None:
            code = "response_cancel_not_active"
            return [self.error("invalid_request_error", "None is active.", code, event.get("event_id"))]
        response_id, self.active = self.active, None
        done = self._response(response_id, "cancelled", [], usage=USAGE)
        return [self._event("response.done", response=done)]

    def _about_item(self, kind: str, event: Event) -> Event:
        if event["item_id"] not in self.items:
            return self.error("invalid_request_error", "No such item.", "item_not_found", event.get("event_id"))
        if kind == "conversation.item.retrieve":
            return self._event("conversation.item.retrieved", item=self.items[event["item_id"]])
        del self.items[event["item_id"]]
        return self._event("conversation.item.deleted", item_id=event["item_id"])

    def _added(self, item: Event) -> Event:
        item = {**item, "id": item.get("id") or self._id("item")}
        self.items[item["id"]] = item
        return item

    def _told(self, item: Event) -> list[Event]:
        previous, self._last = self._last, item["id"]
        if self.beta:
            return [self._event("conversation.item.created", previous_item_id=previous, item=item)]
        kinds = ("conversation.item.added", "conversation.item.done")
        return [self._event(kind, previous_item_id=previous, item=item) for kind in kinds]

    def _response(self, response_id: str, status: str, output: list[Event], usage: Event | None = None) -> Event:
        response: Event = {
            "object": "realtime.response",
            "id": response_id,
            "status": status,
            "status_details": None,
            "output": output,
            "conversation_id": "conv_1",
            "max_output_tokens": "inf",
            "usage": usage,
            "metadata": self.metadata,
        }
        if self.beta:
            return {**response, "modalities": ["text", "audio"], "voice": "alloy", "output_audio_format": "pcm16"}
        output_audio = {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}
        return {**response, "output_modalities": ["audio"], "audio": {"output": output_audio}}

    def _name(self, kind: str, step: str) -> str:
        return f"response.{_BETA[kind] if self.beta else kind}.{step}"

    def _event(self, kind: str, **fields: object) -> Event:
        return {"type": kind, "event_id": f"event_{next(self._numbers)}", **fields}

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(6)}"


def _too_long(item: Event) -> str | None:
    """Return the name of an id that OpenAI's API refuses."""
    return next((name for name in ("id", "call_id") if len(item.get(name) or "") > 32), None)


def _merged(old: Event, new: Event) -> Event:
    """Return a configuration with what an update names changed, at any depth of `audio`."""
    merged = {**old, **new}
    for name in ("audio", "input", "output"):
        if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
            merged[name] = _merged(old[name], new[name])
    return merged
