"""How the scripted upstream spells its answers: Chat Completions and Anthropic Messages, streamed and whole.

Written apart from the codecs under test, from the types of the `openai` and `anthropic` packages.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from tests.support.upstream_script import Call, Json, cut


class Dialect:
    """How one API spells the parts of an answer."""

    name: str
    reasons: Mapping[str, str]

    def __init__(self, call: Call) -> None:
        self.call = call
        self._blocks = -1

    def frame(self, data: Json) -> bytes:
        return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

    def opening(self) -> list[Json]:
        raise NotImplementedError

    def reasoning(self, text: str) -> list[Json]:
        raise NotImplementedError

    def text(self, text: str) -> list[Json]:
        raise NotImplementedError

    def tool(self, number: int, call: tuple[str, str, str]) -> list[Json]:
        raise NotImplementedError

    def closing(self, reason: str) -> list[bytes]:
        raise NotImplementedError

    def error(self, status: int) -> Json:
        raise NotImplementedError

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        raise NotImplementedError


class Chat(Dialect):
    """Chat Completions."""

    name = "chat"
    reasons = MappingProxyType(
        {"stop": "stop", "length": "length", "tools": "tool_calls", "refuse": "stop", "filter": "content_filter"}
    )

    def opening(self) -> list[Json]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def reasoning(self, text: str) -> list[Json]:
        return [self._chunk({"reasoning_content": text})]

    def text(self, text: str) -> list[Json]:
        return [self._chunk({"refusal" if self.call.script.kind == "refuse" else "content": text})]

    def tool(self, number: int, call: tuple[str, str, str]) -> list[Json]:
        call_id, name, arguments = call
        first = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        later = [{"index": number, "function": {"arguments": piece}} for piece in cut(arguments)]
        return [self._chunk({"tool_calls": [entry]}) for entry in [first, *later]]

    def closing(self, reason: str) -> list[bytes]:
        frames = [] if reason == "none" else [self.frame(self._chunk({}, self.reasons[reason]))]
        if self.call.asked.wants_usage:
            frames.append(self.frame(self._chunk(None) | {"usage": self._usage()}))
        return [*frames, b"data: [DONE]\n\n"]

    def error(self, status: int) -> Json:
        kind = {429: "rate_limit_error", 400: "invalid_request_error"}.get(status, "server_error")
        return {"error": {"message": f"scripted {status}", "type": kind, "param": None, "code": None}}

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        tools = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in calls
        ]
        refused = self.call.script.kind == "refuse"
        message: Json = {
            "role": "assistant",
            "content": None if refused else text,
            "refusal": text if refused else None,
        }
        if tools:
            message["tool_calls"] = tools
        choice = {"index": 0, "message": message, "finish_reason": self.reasons[reason], "logprobs": None}
        return self._head("chat.completion") | {"choices": [choice], "usage": self._usage()}

    def _head(self, kind: str) -> Json:
        salt, call = self.call.salt, self.call
        return {"id": f"chatcmpl-{salt}", "object": kind, "created": int(call.started), "model": call.asked.model}

    def _chunk(self, delta: Json | None, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return self._head("chat.completion.chunk") | {"choices": [] if delta is None else [choice]}

    def _usage(self) -> Json:
        read, wrote = self.call.input_tokens, self.call.tokens
        self.call.usage = {"input_tokens": read, "output_tokens": wrote}
        return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


class Messages(Dialect):
    """Anthropic Messages."""

    name = "messages"
    reasons = MappingProxyType(
        {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "refuse": "refusal", "filter": "refusal"}
    )

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._kind = ""

    def frame(self, data: Json) -> bytes:
        return f"event: {data['type']}\n".encode() + super().frame(data)

    def opening(self) -> list[Json]:
        message = self._message([], None) | {"usage": self._usage(1)}
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def reasoning(self, text: str) -> list[Json]:
        delta = {"type": "thinking_delta", "thinking": text}
        return [*self._enter("thinking", {"thinking": "", "signature": ""}), self._delta(delta)]

    def text(self, text: str) -> list[Json]:
        return [*self._enter("text", {"text": ""}), self._delta({"type": "text_delta", "text": text})]

    def tool(self, number: int, call: tuple[str, str, str]) -> list[Json]:
        call_id, name, arguments = call
        self._kind = f"before tool {number}" if self._kind else ""
        opened = self._enter("tool_use", {"id": call_id, "name": name, "input": {}})
        return opened + [self._delta({"type": "input_json_delta", "partial_json": piece}) for piece in cut(arguments)]

    def closing(self, reason: str) -> list[bytes]:
        events = self._leave()
        if reason != "none":
            delta = {"stop_reason": self.reasons[reason], "stop_sequence": None}
            events.append({"type": "message_delta", "delta": delta, "usage": self._usage(self.call.tokens)})
        return [self.frame(event) for event in [*events, {"type": "message_stop"}]]

    def error(self, status: int) -> Json:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "overloaded_error" if status == 529 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": f"scripted {status}"}}

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        content: list[Json] = [{"type": "text", "text": text, "citations": None}] if text else []
        content += [
            {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
            for call_id, name, arguments in calls
        ]
        return self._message(content, self.reasons[reason]) | {"usage": self._usage(self.call.tokens)}

    def _message(self, content: list[Json], stop_reason: str | None) -> Json:
        call = self.call
        head = {"id": f"msg_{call.salt}", "type": "message", "role": "assistant", "model": call.asked.model}
        return head | {"content": content, "stop_reason": stop_reason, "stop_sequence": None}

    def _enter(self, kind: str, block: Json) -> list[Json]:
        if kind == self._kind:
            return []
        left = self._leave()
        self._kind, self._blocks = kind, self._blocks + 1
        start = {"type": "content_block_start", "index": self._blocks, "content_block": {"type": kind} | block}
        return [*left, start]

    def _leave(self) -> list[Json]:
        stop = [{"type": "content_block_stop", "index": self._blocks}] if self._kind else []
        sign = self._kind == "thinking"
        self._kind = ""
        signature = {"type": "signature_delta", "signature": f"sig-{self.call.salt}"}
        return [self._delta(signature), *stop] if sign else list[Json](stop)

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._blocks, "delta": delta}

    def _usage(self, output_tokens: int) -> Json:
        self.call.usage = {"input_tokens": self.call.input_tokens, "output_tokens": output_tokens}
        return dict(self.call.usage)
