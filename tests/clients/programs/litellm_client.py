"""LiteLLM's library as a client: `acompletion` to `openai/...` and `anthropic/...`, and `aresponses`."""

# LiteLLM lives in an environment of its own, so its types are unknown here.
# pyright: basic, reportMissingImports=false
# ruff: noqa: ANN401

import json
import os
from collections.abc import AsyncGenerator
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise the import fetches a price list
import litellm
import openai
import pydantic

from tests.clients.programs.driver import PIXEL, Answer, Driver, Failure, Question, Settings, Tool, ToolCall
from tests.clients.programs.harness import run

litellm.suppress_debug_info = True  # no advice on the terminal


class City(pydantic.BaseModel):
    city: str
    people: int
    capital: bool


class LiteLLM(Driver):
    timeouts = (litellm.Timeout,)
    tells_code = False  # but by its class for an input that is too long

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        where = {"api_base": f"{settings.url}/v1", "api_key": settings.key, "timeout": settings.timeout_s}
        self.options: dict[str, Any] = {**where, "model": f"openai/{settings.model}", "max_retries": 0}

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, openai.APIStatusError):
            return None
        headers = getattr(error, "litellm_response_headers", None) or error.response.headers
        too_long = isinstance(error, litellm.ContextWindowExceededError) and self.dialect != "messages"
        return Failure(error.status_code, "context_length_exceeded" if too_long else None, headers.get("retry-after"))


class Chat(LiteLLM):
    dialect = "chat"

    def _request(self, question: Question) -> dict[str, Any]:
        content: Any = question.text
        if question.image:
            picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
            content = [{"type": "text", "text": question.text}, picture]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if question.calls:
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in question.calls
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        for call, output in zip(question.calls, question.outputs, strict=False):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
        tools = [{"type": "function", "function": _function(tool)} for tool in question.tools]
        return {"messages": messages, **({"tools": tools} if tools else {}), **self.options}

    async def ask(self, question: Question) -> Answer:
        return _of_completion(await litellm.acompletion(**self._request(question)))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        counted = {"stream": True, "stream_options": {"include_usage": True}}
        chunks: list[Any] = []
        async for chunk in await litellm.acompletion(**self._request(question), **counted):
            chunks.append(chunk)
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content
        yield _of_completion(litellm.stream_chunk_builder(chunks))

    async def parse(self, text: str) -> dict[str, Any]:
        found = await litellm.acompletion(**self._request(Question(text)), response_format=City)
        return json.loads(found.choices[0].message.content)


class Responses(LiteLLM):
    dialect = "responses"

    def _request(self, question: Question) -> dict[str, Any]:
        content: list[Any] = [{"type": "input_text", "text": question.text}]
        if question.image:
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
        given: list[Any] = [{"role": "user", "content": content}]
        for call in question.calls:
            named = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
            given.append({"type": "function_call", **named})
        for call, output in zip(question.calls, question.outputs, strict=False):
            given.append({"type": "function_call_output", "call_id": call.id, "output": output})
        tools = [{"type": "function", **_function(tool)} for tool in question.tools]
        return {"input": given, **({"tools": tools} if tools else {}), **self.options}

    async def ask(self, question: Question) -> Answer:
        return _of_response(await litellm.aresponses(**self._request(question)))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        async for event in await litellm.aresponses(**self._request(question), stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta
            if event.type == "response.completed":
                yield _of_response(event.response)

    async def parse(self, text: str) -> dict[str, Any]:
        found = await litellm.aresponses(**self._request(Question(text)), text_format=City)
        return json.loads(_of_response(found).text)


class Messages(Chat):
    """The same calls, which LiteLLM spells in Anthropic's API."""

    dialect = "messages"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.options |= {"api_base": settings.url, "model": f"anthropic/{settings.model}"}


def _function(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _of_completion(completion: Any) -> Answer:
    message, usage = completion.choices[0].message, completion.usage
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    return Answer(message.content or "", calls, (usage.prompt_tokens, usage.completion_tokens))


def _of_response(response: Any) -> Answer:
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    calls = [
        ToolCall(item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"
    ]
    usage = (response.usage.input_tokens, response.usage.output_tokens)
    return Answer("".join(part.text for part in parts if part.type == "output_text"), calls, usage)


if __name__ == "__main__":
    run(Responses, Chat, Messages)
