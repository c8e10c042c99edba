"""How the scripted upstream spells the Responses API, streamed and whole.

Written apart from the codec under test, from the types of the `openai` package, which a test holds every event against.
"""

from types import MappingProxyType

from tests.support import upstream_errors as errors
from tests.support.upstream_asked import as_list
from tests.support.upstream_dialects import Dialect
from tests.support.upstream_script import Call, Json, cut

_ENDS = {"length": "max_output_tokens", "filter": "content_filter"}


class Responses(Dialect):
    """The Responses API. A stream's false end mark is a `[DONE]` in the place of its terminal event."""

    name = "responses"
    reasons = MappingProxyType({reason: reason for reason in ("stop", "length", "tools", "refuse", "filter")})

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._number = -1
        self._output: list[Json] = []  # the items that are done
        self._item: Json | None = None  # the one that is being written
        self._text = ""

    def frame(self, data: Json) -> bytes:
        self._number += 1
        return f"event: {data['type']}\n".encode() + super().frame(data | {"sequence_number": self._number})

    @property
    def output(self) -> list[Json]:
        """The items that are done."""
        return list(self._output)

    def opening(self) -> list[Json]:
        begun = self._response("in_progress")
        return [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]

    def reasoning(self, text: str) -> list[Json]:
        part = {"type": "summary_text", "text": ""}
        events: list[Json] = []
        if self._item is None or self._item["type"] != "reasoning":
            events = self._enter({"id": self._id("rs"), "type": "reasoning", "summary": []})
            events.append(self._of_item("reasoning_summary_part.added", summary_index=0, part=part))
        self._text += text
        return [*events, self._of_item("reasoning_summary_text.delta", summary_index=0, delta=text)]

    def text(self, text: str) -> list[Json]:
        events: list[Json] = []
        if self._item is None or self._item["type"] != "message":
            item: Json = {"id": self._id("msg"), "type": "message", "role": "assistant", "content": []}
            events = self._enter(item | {"status": "in_progress"})
            events.append(self._of_item("content_part.added", content_index=0, part=self._part("")))
        self._text += text
        if self.call.script.kind == "refuse":
            return [*events, self._of_item("refusal.delta", content_index=0, delta=text)]
        return [*events, self._of_item("output_text.delta", content_index=0, delta=text, logprobs=[])]

    def tool(self, number: int, call: tuple[str, str, str]) -> list[Json]:
        call_id, name, arguments = call
        item = {"id": self._id("fc"), "type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        events = self._enter(item | {"status": "in_progress"})
        for piece in cut(arguments):
            self._text += piece
            events.append(self._of_item("function_call_arguments.delta", delta=piece))
        return events

    def closing(self, reason: str) -> list[bytes]:
        frames = [self.frame(event) for event in self._leave()]
        if reason == "none":
            return [*frames, b"data: [DONE]\n\n"]
        state = "incomplete" if reason in _ENDS else "completed"
        return [*frames, self.frame({"type": f"response.{state}", "response": self._ended(reason)})]

    def error(self, status: int) -> Json:
        return errors.openai(status)

    def too_long(self) -> Json:
        return errors.openai_too_long("input")

    def blocked(self) -> Json:
        return errors.openai_blocked()

    def error_event(self) -> Json:
        return {"type": "error", "code": "server_error", "message": "scripted 500", "param": None}

    def failed_event(self) -> Json:
        error = {"code": "server_error", "message": "scripted 500"}
        return {"type": "response.failed", "response": self._response("failed") | {"error": error}}

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        for number, call in enumerate(calls):
            self.tool(number, call)
        if text:
            self.text(text)
        self._leave()
        return self._response("in_progress") if reason == "none" else self._ended(reason)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self.call.salt}_{len(self._output) + (self._item is not None)}"

    def _ended(self, reason: str) -> Json:
        state = "incomplete" if reason in _ENDS else "completed"
        details = {"reason": _ENDS[reason]} if reason in _ENDS else None
        usage = None if self.call.has("no-usage") else self._usage()
        return self._response(state) | {"incomplete_details": details, "usage": usage}

    def _response(self, state: str) -> Json:
        body, call = self.call.asked.body, self.call
        asked = ("instructions", "max_output_tokens", "previous_response_id", "temperature", "top_p")
        return {
            "id": "" if call.has("no-id") else f"resp_{call.salt}",
            "object": "response",
            "created_at": int(call.started),
            "status": state,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": call.asked.model,
            "output": list(self._output),
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": as_list(body.get("tools")),
            "text": body.get("text") or {"format": {"type": "text"}},
            "reasoning": {"effort": None, "summary": None},
            "store": body.get("store") is not False,
            "truncation": "disabled",
            "usage": None,
            "metadata": body.get("metadata") or {},
        } | {name: body.get(name) for name in asked}

    def _usage(self) -> Json:
        read, wrote = self.call.input_tokens, self.call.tokens
        self.call.usage = {"input_tokens": read, "output_tokens": wrote}
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": wrote,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + wrote,
        }

    def _enter(self, item: Json) -> list[Json]:
        left = self._leave()
        self._item, self._text = item, ""
        return [*left, {"type": "response.output_item.added", "output_index": len(self._output), "item": item}]

    def _leave(self) -> list[Json]:
        """End the item that is being written."""
        if self._item is None:
            return []
        match self._item["type"]:
            case "message":
                events = self._message_done()
            case "reasoning":
                events = self._reasoning_done()
            case _:
                done = {"name": self._item["name"], "arguments": self._text}
                events = [self._of_item("function_call_arguments.done", **done)]
                self._item = self._item | {"arguments": self._text, "status": "completed"}
        ended = {"type": "response.output_item.done", "output_index": len(self._output), "item": self._item}
        self._output.append(self._item)
        self._item = None
        return [*events, ended]

    def _message_done(self) -> list[Json]:
        assert self._item is not None
        part = self._part(self._text)
        kind, said = "output_text.done", Json(text=self._text, logprobs=[])
        if self.call.script.kind == "refuse":
            kind, said = "refusal.done", Json(refusal=self._text)
        events = [
            self._of_item(kind, content_index=0, **said),
            self._of_item("content_part.done", content_index=0, part=part),
        ]
        self._item = self._item | {"content": [part], "status": "completed"}
        return events

    def _reasoning_done(self) -> list[Json]:
        assert self._item is not None
        part = {"type": "summary_text", "text": self._text}
        events = [
            self._of_item("reasoning_summary_text.done", summary_index=0, text=self._text),
            self._of_item("reasoning_summary_part.done", summary_index=0, part=part),
        ]
        sealed = "reasoning.encrypted_content" in as_list(self.call.asked.body.get("include"))
        seal = {"encrypted_content": f"sealed-{self.call.salt}"} if sealed else {}
        self._item = self._item | {"summary": [part]} | seal
        return events

    def _of_item(self, kind: str, **more: object) -> Json:
        assert self._item is not None
        head = {"type": f"response.{kind}", "item_id": self._item["id"], "output_index": len(self._output)}
        return head | more

    def _part(self, text: str) -> Json:
        if self.call.script.kind == "refuse":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
