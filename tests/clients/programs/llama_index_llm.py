"""LlamaIndex: `OpenAILike` over Chat Completions, `OpenAIResponses` over the Responses API."""

# LlamaIndex lives in an environment of its own, so its types are unknown here.
# pyright: basic, reportMissingImports=false
# ruff: noqa: ANN401

import base64
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import openai
import pydantic
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

from tests.clients.programs.driver import PIXEL, Answer, Driver, Failure, Question, Settings, Tool
from tests.clients.programs.harness import run


class City(pydantic.BaseModel):
    city: str
    people: int
    capital: bool


class LlamaIndex(Driver):
    timeouts = (openai.APITimeoutError,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        where = {"api_base": f"{settings.url}/v1", "api_key": settings.key, "model": settings.model}
        self.model = self._model({**where, "timeout": settings.timeout_s, "max_retries": 0, "context_window": 100_000})

    def _model(self, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    async def ask(self, question: Question) -> Answer:
        return self._answer(await self.model.achat(_messages(question)))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        last: Any = None
        async for last in await self.model.astream_chat(_messages(question)):
            if last.delta:
                yield last.delta
        yield self._answer(last)

    async def parse(self, text: str) -> dict[str, Any]:
        return (await self.model.astructured_predict(City, PromptTemplate(text))).model_dump()

    async def use_tools(self, text: str, tools: Sequence[Tool]) -> Answer:
        made = {tool.name: _function(tool) for tool in tools}
        messages = _messages(Question(text))
        options: Any = {"chat_history": messages, "allow_parallel_tool_calls": len(tools) > 1}
        first = await self.model.achat_with_tools(list(made.values()), **options)
        messages.append(first.message)
        for call in self.model.get_tool_calls_from_response(first):
            output = await made[call.tool_name].acall(**call.tool_kwargs)
            kept = {"tool_call_id": call.tool_id, "call_id": call.tool_id}
            messages.append(ChatMessage(role="tool", content=str(output), additional_kwargs=kept))
        return self._answer(await self.model.achat_with_tools(list(made.values()), **options))

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, openai.APIStatusError):
            return None
        return Failure(error.status_code, error.code, error.response.headers.get("retry-after"))

    def _answer(self, response: Any) -> Answer:
        raise NotImplementedError


class Chat(LlamaIndex):
    dialect = "chat"

    def _model(self, options: dict[str, Any]) -> Any:
        kinds = {"is_chat_model": True, "is_function_calling_model": True, "should_use_structured_outputs": True}
        return OpenAILike(**options, **kinds, additional_kwargs={"stream_options": {"include_usage": True}})

    def _answer(self, response: Any) -> Answer:
        usage = response.raw.usage
        return Answer(response.message.content or "", usage=usage and (usage.prompt_tokens, usage.completion_tokens))


class Responses(LlamaIndex):
    dialect = "responses"

    def _model(self, options: dict[str, Any]) -> Any:
        return OpenAIResponses(**options)

    def _answer(self, response: Any) -> Answer:
        usage = response.additional_kwargs.get("usage") or response.raw.usage
        return Answer(response.message.content or "", usage=(usage.input_tokens, usage.output_tokens))


def _messages(question: Question) -> list[Any]:
    blocks: list[Any] = [TextBlock(text=question.text)]
    if question.image:
        blocks.append(ImageBlock(image=base64.b64decode(PIXEL), image_mimetype="image/png"))
    return [ChatMessage(role="user", blocks=blocks)]


def _function(tool: Tool) -> Any:
    def call(place: str) -> str:
        return tool.run(place)

    return FunctionTool.from_defaults(call, name=tool.name, description=tool.description)


if __name__ == "__main__":
    run(Responses, Chat)
