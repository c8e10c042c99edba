"""The `openai` package: `openai_sdk [sync|async] [openai|azure]`. Runs with major versions 2 and 3."""

# What a client returns is read as it comes.
# ruff: noqa: ANN401

import sys
from collections.abc import AsyncGenerator
from typing import Any

import openai
import pydantic

from tests.clients.programs.driver import PIXEL, Answer, Driver, Failure, Question, Settings, Tool, ToolCall
from tests.clients.programs.either import each, opened, value
from tests.clients.programs.harness import run

KIND, PLACE = sys.argv[1:]
CLASSES: dict[tuple[str, str], Any] = {
    ("sync", "openai"): openai.OpenAI,
    ("async", "openai"): openai.AsyncOpenAI,
    ("sync", "azure"): openai.AzureOpenAI,
    ("async", "azure"): openai.AsyncAzureOpenAI,
}


class City(pydantic.BaseModel):
    city: str
    people: int
    capital: bool


class OpenAI(Driver):
    timeouts = (openai.APITimeoutError,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        azure = {"azure_endpoint": settings.url, "api_version": "2025-04-01-preview"}
        where = azure if PLACE == "azure" else {"base_url": f"{settings.url}/v1"}
        options = {"api_key": settings.key, "timeout": settings.timeout_s, "max_retries": 0}
        self.client: Any = CLASSES[KIND, PLACE](**where, **options, _strict_response_validation=True)

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, openai.APIStatusError):
            return None
        return Failure(error.status_code, error.code, error.response.headers.get("retry-after"))

    async def close(self) -> None:
        await value(self.client.close())


class Responses(OpenAI):
    dialect = "responses"

    def _request(self, question: Question) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "input_text", "text": question.text}]
        if question.image:
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
        given: list[dict[str, Any]] = [{"role": "user", "content": content if question.image else question.text}]
        for call in question.calls:
            named = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
            given.append({"type": "function_call", **named})
        for call, output in zip(question.calls, question.outputs, strict=False):
            given.append({"type": "function_call_output", "call_id": call.id, "output": output})
        tools = [{"type": "function", "strict": True, **_named(tool)} for tool in question.tools]
        return {"model": self.settings.model, "input": given, **({"tools": tools} if tools else {})}

    async def ask(self, question: Question) -> Answer:
        return _of_response(await value(self.client.responses.create(**self._request(question))))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        async with opened(self.client.responses.stream(**self._request(question))) as stream:
            async for event in each(stream):
                if event.type == "response.created":
                    self.answer_id = event.response.id
                if event.type == "response.output_text.delta":
                    yield event.delta
            yield _of_response(await value(stream.get_final_response()))

    async def models(self) -> list[str]:
        return [model.id async for model in each(await value(self.client.models.list()))]

    async def count(self, text: str) -> int:
        return (await value(self.client.responses.input_tokens.count(**self._request(Question(text))))).input_tokens

    async def parse(self, text: str) -> dict[str, Any]:
        asked = self.client.responses.parse(model=self.settings.model, input=text, text_format=City)
        return (await value(asked)).output_parsed.model_dump()

    async def stop(self, answer_id: str) -> str:
        return (await value(self.client.responses.cancel(answer_id))).status


class Chat(OpenAI):
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
        tools = [{"type": "function", "function": {"strict": True, **_named(tool)}} for tool in question.tools]
        return {"model": self.settings.model, "messages": messages, **({"tools": tools} if tools else {})}

    async def ask(self, question: Question) -> Answer:
        return _of_completion(await value(self.client.chat.completions.create(**self._request(question))))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        counted = {"stream_options": {"include_usage": True}}
        async with opened(self.client.chat.completions.stream(**self._request(question), **counted)) as stream:
            async for event in each(stream):
                if event.type == "content.delta":
                    yield event.delta
            yield _of_completion(await value(stream.get_final_completion()))

    async def parse(self, text: str) -> dict[str, Any]:
        asked: Any = {"messages": [{"role": "user", "content": text}], "response_format": City}
        found = await value(self.client.chat.completions.parse(model=self.settings.model, **asked))
        return found.choices[0].message.parsed.model_dump()


def _named(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _of_response(response: Any) -> Answer:
    calls = [
        ToolCall(item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"
    ]
    usage = (response.usage.input_tokens, response.usage.output_tokens)
    return Answer(response.output_text, calls, usage, response.id)


def _of_completion(completion: Any) -> Answer:
    message, usage = completion.choices[0].message, completion.usage
    calls = [
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()  # null in some versions, absent in others
    ]
    return Answer(message.content or "", calls, (usage.prompt_tokens, usage.completion_tokens), completion.id)


if __name__ == "__main__":
    run(Responses, Chat)
