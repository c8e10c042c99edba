"""The messages of a chat as conversation items.

An assistant's message becomes its sealed reasoning, its text, then its calls: the order in which a model says them.
Reasoning without a seal is dropped, since no provider takes it back.
Source: `ChatCompletionMessageParam` in the `openai` package; `reasoning_details` as OpenRouter has them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never

from msgspec import Meta, Struct

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputPart,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Reasoning,
    ReasoningText,
    Refusal,
)

_FETCHED = ("http://", "https://", "data:")


class ChatPart(Struct, tag_field="type"):
    """Base of the parts of a message's content."""


class ChatTextPart(ChatPart, tag="text"):
    text: str


class ChatImageUrl(Struct):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ChatImagePart(ChatPart, tag="image_url"):
    image_url: ChatImageUrl


class ChatFile(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ChatFilePart(ChatPart, tag="file"):
    file: ChatFile


class ChatAudioPart(ChatPart, tag="input_audio"):
    """Sound, which is refused."""

    input_audio: dict[str, Any]


class ChatRefusalPart(ChatPart, tag="refusal"):
    refusal: str


class ChatCalledFunction(Struct):
    name: str
    arguments: str


class ChatFunctionToolCall(Struct, tag_field="type", tag="function"):
    id: Annotated[str, Meta(min_length=1)]
    function: ChatCalledFunction


class ChatCustomToolCall(Struct, tag_field="type", tag="custom"):
    """A call of a tool without a schema, which is refused."""

    id: str
    custom: dict[str, Any]


class ChatReasoningDetail(Struct):
    """A stretch of reasoning as it was given out: `signature` seals a text, `data` stands for a hidden one."""

    type: str = ""
    text: str | None = None
    signature: str | None = None
    data: str | None = None

    @property
    def seal(self) -> str | None:
        """What proves it to its provider."""
        return self.data if self.type == "reasoning.encrypted" else self.signature


class ChatMessage(Struct, tag_field="role"):
    """Base of messages."""


class ChatSystemMessage(ChatMessage, tag="system"):
    content: str | list[ChatTextPart]


class ChatDeveloperMessage(ChatMessage, tag="developer"):
    content: str | list[ChatTextPart]


class ChatUserMessage(ChatMessage, tag="user"):
    content: str | list[ChatTextPart | ChatImagePart | ChatFilePart | ChatAudioPart]


class ChatAssistantMessage(ChatMessage, tag="assistant"):
    content: str | list[ChatTextPart | ChatRefusalPart] | None = None
    refusal: str | None = None
    tool_calls: list[ChatFunctionToolCall | ChatCustomToolCall] | None = None
    function_call: ChatCalledFunction | None = None
    reasoning_details: list[ChatReasoningDetail] | None = None
    audio: dict[str, Any] | None = None


class ChatToolMessage(ChatMessage, tag="tool"):
    tool_call_id: str
    content: str | list[ChatTextPart | ChatImagePart | ChatFilePart]


class ChatFunctionMessage(ChatMessage, tag="function"):
    """The output of a function called by name; the API has tools instead now."""

    name: str
    content: str | None


AnyMessage = (
    ChatSystemMessage
    | ChatDeveloperMessage
    | ChatUserMessage
    | ChatAssistantMessage
    | ChatToolMessage
    | ChatFunctionMessage
)


def items_of(messages: Sequence[AnyMessage]) -> list[Item]:
    """Return the conversation's items; ids are numbers within it. Raises: InvalidRequest naming the place."""
    thread = _Thread()
    for number, message in enumerate(messages):
        thread.add(message, f"messages[{number}]")
    return thread.items


class _Thread:
    """Items as they grow."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._called: set[str] = set()
        self._named: dict[str, str] = {}  # the last call of each function that was called without an id

    def add(self, message: AnyMessage, place: str) -> None:
        match message:
            case ChatSystemMessage(content=content):
                self.items.append(Message(self._id("msg"), "system", _texts(content)))
            case ChatDeveloperMessage(content=content):
                self.items.append(Message(self._id("msg"), "developer", _texts(content)))
            case ChatUserMessage(content=content):
                self.items.append(Message(self._id("msg"), "user", [*_input(content, place)]))
            case ChatAssistantMessage():
                self._add_answer(message, place)
            case ChatToolMessage(tool_call_id=call_id, content=content):
                if call_id not in self._called:
                    raise _wrong(f"{place}.tool_call_id", f"no message before it calls '{call_id}'")
                output = content if isinstance(content, str) else _input(content, place)
                self.items.append(FunctionCallOutput(self._id("fco"), call_id, output))
            case ChatFunctionMessage(name=name, content=content):
                if name not in self._named:
                    raise _wrong(f"{place}.name", f"no message before it calls '{name}'")
                self.items.append(FunctionCallOutput(self._id("fco"), self._named[name], content or ""))
            case _:  # pragma: no cover
                assert_never(message)

    def _add_answer(self, message: ChatAssistantMessage, place: str) -> None:
        if message.audio is not None:
            raise _wrong(f"{place}.audio", "audio is not taken")
        content = _output(message)
        if message.content is None and not (content or message.tool_calls or message.function_call):
            raise _wrong(f"{place}.content", "it may be left out only beside tool_calls, function_call or refusal")
        self.items += [self._reasoning(each) for each in message.reasoning_details or () if each.seal]
        if content:
            self.items.append(Message(self._id("msg"), "assistant", content))
        for number, call in enumerate(message.tool_calls or ()):
            if isinstance(call, ChatCustomToolCall):
                raise _wrong(f"{place}.tool_calls[{number}]", "only functions can have been called")
            self._add_call(call.id, call.function)
        if message.function_call is not None:
            call_id = self._named[message.function_call.name] = self._id("call")
            self._add_call(call_id, message.function_call)

    def _add_call(self, call_id: str, called: ChatCalledFunction) -> None:
        self._called.add(call_id)
        self.items.append(FunctionCall(self._id("fc"), call_id, called.name, called.arguments))

    def _reasoning(self, detail: ChatReasoningDetail) -> Reasoning:
        content = [ReasoningText(detail.text)] if detail.text else []
        return Reasoning(self._id("rs"), content=content, encrypted_content=detail.seal)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{len(self.items)}"


def _texts(content: str | list[ChatTextPart]) -> list[Part]:
    return [InputText(content)] if isinstance(content, str) else [InputText(part.text) for part in content]


def _input(content: str | Sequence[ChatPart], place: str) -> list[InputPart]:
    if isinstance(content, str):
        return [InputText(content)]
    return [_input_part(part, f"{place}.content[{number}]") for number, part in enumerate(content)]


def _input_part(part: ChatPart, place: str) -> InputPart:
    match part:
        case ChatTextPart(text=text):
            return InputText(text)
        case ChatImagePart(image_url=image):
            if not image.url.startswith(_FETCHED):
                raise _wrong(f"{place}.image_url.url", "it must be an http, https or data URL")
            return InputImage(image.url, detail=image.detail or "auto")
        case ChatFilePart(file=file):
            if (file.file_id is None) == (file.file_data is None):
                raise _wrong(f"{place}.file", "it needs either file_id or file_data")
            return InputFile(file.file_id, file.filename, file.file_data)
        case _:
            raise _wrong(place, "audio is not taken")


def _output(message: ChatAssistantMessage) -> list[Part]:
    given = message.content or []
    parts: list[Part] = [OutputText(given)] if isinstance(given, str) else [_output_part(part) for part in given]
    return [*parts, Refusal(message.refusal)] if message.refusal else parts


def _output_part(part: ChatTextPart | ChatRefusalPart) -> OutputText | Refusal:
    return OutputText(part.text) if isinstance(part, ChatTextPart) else Refusal(part.refusal)


def _wrong(place: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{place}': {why}.", param="messages")
