"""The `anthropic` package: `anthropic_sdk [sync|async]`."""

# What a client returns is read as it comes.
# ruff: noqa: ANN401

import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import pydantic

from tests.clients.programs.driver import PIXEL, Answer, Driver, Failure, Question, Settings, ToolCall
from tests.clients.programs.either import each, opened, value
from tests.clients.programs.harness import run

CLASSES: dict[str, Any] = {"sync": anthropic.Anthropic, "async": anthropic.AsyncAnthropic}
MAX_TOKENS = 1024


class City(pydantic.BaseModel):
    city: str
    people: int
    capital: bool


class Messages(Driver):
    dialect = "messages"
    timeouts = (anthropic.APITimeoutError,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        options = {"api_key": settings.key, "timeout": settings.timeout_s, "max_retries": 0}
        make = CLASSES[sys.argv[1]]
        self.client: Any = make(base_url=settings.url, **options, _strict_response_validation=True)

    def _request(self, question: Question) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        if question.image:
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            content.append({"type": "image", "source": source})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if question.calls:
            uses = [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
                for call in question.calls
            ]
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": output}
                for call, output in zip(question.calls, question.outputs, strict=True)
            ]
            messages += [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
        tools = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in question.tools
        ]
        request = {"model": self.settings.model, "max_tokens": MAX_TOKENS, "messages": messages}
        return {**request, **({"tools": tools} if tools else {})}

    async def ask(self, question: Question) -> Answer:
        return _answer(await value(self.client.messages.create(**self._request(question))))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        async with opened(self.client.messages.stream(**self._request(question))) as stream:
            async for event in each(stream):
                if event.type == "text":
                    yield event.text
            yield _answer(await value(stream.get_final_message()))

    async def models(self) -> list[str]:
        return [model.id async for model in each(await value(self.client.models.list()))]

    async def count(self, text: str) -> int:
        question = {"role": "user", "content": text}
        asked = self.client.messages.count_tokens(model=self.settings.model, messages=[question])
        return (await value(asked)).input_tokens

    async def parse(self, text: str) -> dict[str, Any]:
        asked = self.client.messages.parse(**self._request(Question(text)), output_format=City)
        return (await value(asked)).parsed_output.model_dump()

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, anthropic.APIStatusError):
            return None
        return Failure(error.status_code, error.type, error.response.headers.get("retry-after"))

    async def close(self) -> None:
        await value(self.client.close())


def _answer(message: Any) -> Answer:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [
        ToolCall(block.id, block.name, json.dumps(block.input)) for block in message.content if block.type == "tool_use"
    ]
    return Answer(text, calls, (message.usage.input_tokens, message.usage.output_tokens), message.id)


if __name__ == "__main__":
    run(Messages)
