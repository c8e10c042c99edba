"""LangChain's `ChatOpenAI`, over either API of OpenAI's."""

# LangChain lives in an environment of its own, so its types are unknown here.
# pyright: basic, reportMissingImports=false
# ruff: noqa: ANN401

import json
from collections.abc import AsyncGenerator
from typing import Any

import openai
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.clients.programs.driver import PIXEL, SHAPE, Answer, Driver, Failure, Question, Settings, Tool, ToolCall
from tests.clients.programs.harness import run


class Chat(Driver):
    dialect = "chat"
    timeouts = (openai.APITimeoutError,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.model = ChatOpenAI(
            base_url=f"{settings.url}/v1",
            api_key=settings.key,
            model=settings.model,
            timeout=settings.timeout_s,
            max_retries=0,
            stream_usage=True,
            use_responses_api=self.dialect == "responses",
        )

    def _given(self, question: Question) -> tuple[Any, list[Any]]:
        """Return the model with the tools bound to it, and the messages."""
        content: list[Any] = [{"type": "text", "text": question.text}]
        if question.image:
            content.append({"type": "image", "base64": PIXEL, "mime_type": "image/png"})
        messages: list[Any] = [HumanMessage(content)]
        if question.calls:
            calls: list[Any] = [
                {"id": call.id, "name": call.name, "args": {"place": question.text}} for call in question.calls
            ]
            messages.append(AIMessage("", tool_calls=calls))
        for call, output in zip(question.calls, question.outputs, strict=False):
            messages.append(ToolMessage(output, tool_call_id=call.id))
        bound = self.model.bind_tools([_function(tool) for tool in question.tools]) if question.tools else self.model
        return bound, messages

    async def ask(self, question: Question) -> Answer:
        model, messages = self._given(question)
        return _answer(await model.ainvoke(messages))

    async def stream(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        model, messages = self._given(question)
        whole = None
        async for chunk in model.astream(messages):
            if chunk.text:
                yield str(chunk.text)
            whole = chunk if whole is None else whole + chunk
        yield _answer(whole)

    async def parse(self, text: str) -> dict[str, Any]:
        shape = {"title": "City", "description": "A city.", **SHAPE}
        return await self.model.with_structured_output(shape, method="json_schema", strict=True).ainvoke(text)

    def failure(self, error: Exception) -> Failure | None:
        if not isinstance(error, openai.APIStatusError):
            return None
        return Failure(error.status_code, error.code, error.response.headers.get("retry-after"))


class Responses(Chat):
    dialect = "responses"


def _function(tool: Tool) -> dict[str, Any]:
    named = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": named}


def _answer(message: Any) -> Answer:
    calls = [ToolCall(call["id"], call["name"], json.dumps(call["args"])) for call in message.tool_calls]
    usage = message.usage_metadata
    return Answer(str(message.text), calls, (usage["input_tokens"], usage["output_tokens"]))


if __name__ == "__main__":
    run(Responses, Chat)
