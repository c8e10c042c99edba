"""How the scripted upstream spells its answers: Chat Completions and Anthropic Messages, streamed and whole.

Written apart from the codecs under test, from the types of the `openai` and `anthropic` packages. The other dialects
are in `upstream_responses.py`, `upstream_azure.py`, `upstream_perplexity.py` and `upstream_counts.py`.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from tests.support import upstream_errors as errors
from tests.support.upstream_script import Call, Json, cut


class Dialect:
    """How one API spells the parts of an answer, and what credential it wants."""

    name: str
    reasons: Mapping[str, str]

    def __init__(self, call: Call) -> None:
        self.call = call

    def denied(self, key: str) -> bool:
        """Return whether the call lacks the credential that this API wants."""
        return self.call.header("authorization") != f"Bearer {key}"

    def refusal(self) -> tuple[int, Json] | None:
        """Return the status and body with which this API refuses such a request, whatever the script."""
        return None

    def headers(self) -> dict[str, str]:
        """Return the headers of every answer."""
        return {"x-request-id": f"req_{self.call.salt}"}

    def waits(self, wait_ms: int) -> dict[str, str]:
        """Return the headers that ask to wait so long."""
        return {"retry-after": str(-(-wait_ms // 1000))}

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

    def too_long(self) -> Json:
        raise NotImplementedError

    def blocked(self) -> Json:
        raise NotImplementedError

    def error_event(self) -> Json:
        """Return an error inside a stream."""
        return self.error(500)

    def failed_event(self) -> Json:
        """Return the event of an answer that failed, where an API has one beside its errors."""
        return self.error_event()

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        raise NotImplementedError


class Chat(Dialect):
    """Chat Completions."""

    name = "chat"
    reasons = MappingProxyType(
        {"stop": "stop", "length": "length", "tools": "tool_calls", "refuse": "stop", "filter": "content_filter"}
    )

    def opening(self) -> list[Json]:
        return [self.chunk({"role": "assistant", "content": ""})]

    def reasoning(self, text: str) -> list[Json]:
        return [self.chunk({"reasoning_content": text})]

    def text(self, text: str) -> list[Json]:
        return [self.chunk({"refusal" if self.call.script.kind == "refuse" else "content": text})]

    def tool(self, number: int, call: tuple[str, str, str]) -> list[Json]:
        call_id, name, arguments = call
        first = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        later = [{"index": number, "function": {"arguments": piece}} for piece in cut(arguments)]
        return [self.chunk({"tool_calls": [entry]}) for entry in [first, *later]]

    def closing(self, reason: str) -> list[bytes]:
        frames = [] if reason == "none" else [self.frame(self.chunk({}, self.reasons[reason]))]
        if self.call.asked.wants_usage and not self.call.has("no-usage"):
            frames.append(self.frame(self.chunk(None) | {"usage": self.usage()}))
        return [*frames, b"data: [DONE]\n\n"]

    def error(self, status: int) -> Json:
        return errors.openai(status)

    def too_long(self) -> Json:
        if self.call.has("vllm"):
            return errors.vllm_too_long()
        return errors.llama_cpp_too_long() if self.call.has("llama-cpp") else errors.openai_too_long("messages")

    def blocked(self) -> Json:
        return errors.openai_blocked()

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
        choice = {"index": 0, "message": message, "finish_reason": self.reasons.get(reason), "logprobs": None}
        usage = {} if self.call.has("no-usage") else {"usage": self.usage()}
        return self.head("chat.completion") | {"choices": [choice]} | usage

    def head(self, kind: str) -> Json:
        """Return what every object of an answer begins with."""
        name = "" if self.call.has("no-id") else f"chatcmpl-{self.call.salt}"
        return {"id": name, "object": kind, "created": int(self.call.started), "model": self.call.asked.model}

    def chunk(self, delta: Json | None, finish_reason: str | None = None) -> Json:
        """Return a chunk with one choice, or with none."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return self.head("chat.completion.chunk") | {"choices": [] if delta is None else [choice]}

    def usage(self) -> Json:
        """Report what the call cost."""
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
        self._blocks = -1

    def denied(self, key: str) -> bool:
        known = self.call.header("x-api-key") == key or not super().denied(key)
        return not (known and self.call.header("anthropic-version"))

    def headers(self) -> dict[str, str]:
        return {"request-id": f"req_{self.call.salt}"}

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
        return errors.anthropic(status)

    def too_long(self) -> Json:
        return errors.anthropic_too_long()

    def blocked(self) -> Json:
        return errors.anthropic_blocked()

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        content: list[Json] = [{"type": "text", "text": text, "citations": None}] if text else []
        content += [
            {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
            for call_id, name, arguments in calls
        ]
        return self._message(content, self.reasons.get(reason)) | {"usage": self._usage(self.call.tokens)}

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
