"""Pydantic AI's `Agent`, which makes the calls of its tools itself, over the APIs of OpenAI and of Anthropic."""

# Pydantic AI lives in an environment of its own, so its types are unknown here.
# pyright: basic, reportMissingImports=false
# ruff: noqa: ANN401

import base64
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anthropic
import openai
import pydantic
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai import Tool as AgentTool
from pydantic_ai.exceptions import ModelHTTPError, ModelTimeoutError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.programs.driver import PIXEL, Answer, Driver, Failure, Question, Settings, Tool
from tests.clients.programs.harness import run


class City(pydantic.BaseModel):
    city: str
    people: int
    capital: bool


class PydanticAI(Driver):
    timeouts = (ModelTimeoutError,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.model = self._model(settings)

    def _model(self, settings: Settings) -> Any:
        raise NotImplementedError

    async def ask(self, question: Question) -> Answer:
        return _answer(await Agent(self.model).run(_prompt(question)))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        async with Agent(self.model).run_stream(_prompt(question)) as result:
            said = ""
            async for piece in result.stream_text(delta=True, debounce_by=None):
                said += piece
                yield piece
            yield Answer(said, usage=_usage(result))

    async def parse(self, text: str) -> dict[str, Any]:
        return (await Agent(self.model, output_type=NativeOutput(City)).run(text)).output.model_dump()

    async def use_tools(self, text: str, tools: Sequence[Tool]) -> Answer:
        made = [AgentTool.from_schema(_run(tool), tool.name, tool.description, tool.parameters) for tool in tools]
        return _answer(await Agent(self.model, tools=made).run(text))

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, ModelHTTPError):
            return None
        known: Any = error
        body = known.body or {}
        body = body.get("error", body)
        code = body.get("type") if self.dialect == "messages" else body.get("code")
        return Failure(known.status_code, code, (known.headers or {}).get("retry-after"))


class Chat(PydanticAI):
    dialect = "chat"

    def _model(self, settings: Settings) -> Any:
        return OpenAIChatModel(settings.model, provider=OpenAIProvider(openai_client=_openai(settings)))


class Responses(PydanticAI):
    dialect = "responses"

    def _model(self, settings: Settings) -> Any:
        return OpenAIResponsesModel(settings.model, provider=OpenAIProvider(openai_client=_openai(settings)))


class Messages(PydanticAI):
    dialect = "messages"

    def _model(self, settings: Settings) -> Any:
        options: Any = {"api_key": settings.key, "timeout": settings.timeout_s, "max_retries": 0}
        client = anthropic.AsyncAnthropic(base_url=settings.url, **options)
        # Which features a model has it knows by names of Anthropic's; ours has them under any name.
        profile: Any = {"supports_json_schema_output": True}
        return AnthropicModel(settings.model, provider=AnthropicProvider(anthropic_client=client), profile=profile)


def _openai(settings: Settings) -> openai.AsyncOpenAI:
    options: Any = {"api_key": settings.key, "timeout": settings.timeout_s, "max_retries": 0}
    return openai.AsyncOpenAI(base_url=f"{settings.url}/v1", **options)


def _prompt(question: Question) -> list[Any]:
    picture = [BinaryContent(base64.b64decode(PIXEL), media_type="image/png")] if question.image else []
    return [question.text, *picture]


def _run(tool: Tool) -> Any:
    async def run(place: str) -> str:
        return tool.run(place)

    return run


def _usage(result: Any) -> tuple[int, int]:
    return result.usage.input_tokens, result.usage.output_tokens


def _answer(result: Any) -> Answer:
    return Answer(result.output, usage=_usage(result))


if __name__ == "__main__":
    run(Responses, Chat, Messages)
