"""A `ModelRequest` as a Chat Completions request body.

Source: `CompletionCreateParams` in the `openai` package (types/chat/completion_create_params.py).
"""

from collections.abc import Sequence
from typing import Any, assert_never

from chatbackend.adapters.providers.chat.turns import alternating, calls_in_words
from chatbackend.adapters.providers.codec import passthrough, present, unsupported
from chatbackend.adapters.providers.data_url import media_type_of, split_data_url
from chatbackend.adapters.providers.fitting import fitted
from chatbackend.adapters.providers.lengths import CHAT_CALL_ID, USER, shortened
from chatbackend.adapters.providers.structured import spoken
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Refusal,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice

Json = dict[str, Any]


def request_body(request: ModelRequest, profile: ModelProfile) -> Json:
    """Return the body, fields that we do not know first so that they never override ours.

    Raises: InvalidRequest for what the dialect or the model has no way to say.
    """
    request = spoken(fitted(request, profile), profile)
    extra = passthrough(request, "chat")
    limit = request.max_output_tokens or profile.default_max_tokens
    ours = present(
        model=request.model,
        messages=_messages(request, profile),
        stream=request.stream,
        stream_options={"include_usage": True} if request.stream and profile.accepts_stream_options else None,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=request.stop or None,
        seed=request.seed,
        logprobs=True if request.top_logprobs is not None else None,
        top_logprobs=request.top_logprobs,
        response_format=_response_format(request.text_format),
        reasoning_effort=request.reasoning_effort,
        verbosity=request.verbosity,
        user=shortened(request.user, USER) if request.user else None,
    )
    if request.prefilled and profile.marks_prefill:
        ours |= {"continue_final_message": True, "add_generation_prompt": False}
    if limit is not None:
        ours[profile.max_tokens_field] = limit
    return extra | ours | _tools(request, profile)


def _tools(request: ModelRequest, profile: ModelProfile) -> Json:
    if not request.tools:
        return {}
    if not profile.accepts_tools:
        raise unsupported("tools", param="tools")
    return present(
        tools=[_tool(tool) for tool in request.tools],
        tool_choice=_tool_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
    )


def _tool(tool: FunctionTool) -> Json:
    function = present(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | Json | None:
    if choice.mode == "function":
        return {"type": "function", "function": {"name": choice.name}}
    return None if choice.mode == "auto" else choice.mode


def _response_format(wanted: TextFormat) -> Json | None:
    match wanted.type:
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            schema = present(
                name=wanted.name or "answer",
                schema=wanted.schema,
                strict=wanted.strict,
                description=wanted.description,
            )
            return {"type": "json_schema", "json_schema": schema}
        case _:  # pragma: no cover
            assert_never(wanted.type)


def _messages(request: ModelRequest, profile: ModelProfile) -> list[Json]:
    conversation = _Conversation(profile)
    if request.instructions:
        conversation.add_system(request.instructions)
    for item in request.items if profile.accepts_tools else calls_in_words(request.items):
        conversation.add(item)
    messages = conversation.close()
    return alternating(messages) if profile.alternates else messages


class _Conversation:
    """Messages as they grow: an answer and its calls become one message, media of tool outputs follow the tools."""

    def __init__(self, profile: ModelProfile) -> None:
        self._profile = profile
        self._system_role = profile.system_role if profile.accepts_system else "user"
        self._messages: list[Json] = []
        self._media: list[Json] = []  # `role: tool` takes text only, so images wait for the end of the outputs

    def close(self) -> list[Json]:
        self._flush_media()
        return self._messages

    def add_system(self, text: str) -> None:
        self._messages.append({"role": self._system_role, "content": text})

    def add(self, item: Item) -> None:
        if isinstance(item, FunctionCallOutput):
            self._add_output(item)
            return
        self._flush_media()
        match item:
            case Message(role="assistant"):
                self._add_answer(item)
            case Message(role="user"):
                self._messages.append({"role": "user", "content": self._content(item.content)})
            case Message():
                self.add_system("\n".join(_texts(item.content)))
            case FunctionCall():
                self._add_call(item)
            case _:  # reasoning is not taken back, file searches are already in the instructions
                pass

    def _add_answer(self, item: Message) -> None:
        text = "".join(part.text for part in item.content if isinstance(part, InputText | OutputText))
        refusal = "".join(part.refusal for part in item.content if isinstance(part, Refusal))
        last = self._messages[-1] if self._messages else {}
        if "tool_calls" in last:  # between the calls and their outputs no other message may stand
            last["content"] = (last["content"] or "") + text + refusal
            return
        self._messages.append({"role": "assistant", "content": text} | present(refusal=refusal or None))

    def _add_call(self, item: FunctionCall) -> None:
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self._messages.append({"role": "assistant", "content": None})
        call = {
            "id": shortened(item.call_id, CHAT_CALL_ID),
            "type": "function",
            "function": {"name": item.name, "arguments": item.arguments or "{}"},
        }
        self._messages[-1].setdefault("tool_calls", []).append(call)

    def _add_output(self, item: FunctionCallOutput) -> None:
        text, media = item.output, list[Json]()
        if not isinstance(text, str):
            media = [self._part(part) for part in text if not isinstance(part, InputText)]
            text = "\n".join(_texts(text)) or ("The output follows in the next user message." if media else "")
        call_id = shortened(item.call_id, CHAT_CALL_ID)
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        if media:
            self._media += [{"type": "text", "text": f"Output of tool call {call_id}:"}, *media]

    def _flush_media(self) -> None:
        if self._media:
            self._messages.append({"role": "user", "content": self._media})
            self._media = []

    def _content(self, parts: Sequence[Part]) -> str | list[Json]:
        """Return one text as a string (older servers know nothing else), anything more as parts."""
        content = [self._part(part) for part in parts]
        return content[0]["text"] if len(content) == 1 and "text" in content[0] else content

    def _part(self, part: Part) -> Json:
        match part:
            case InputText(text=text) | OutputText(text=text) | Refusal(refusal=text):
                return {"type": "text", "text": text}
            case InputImage():
                return _image(part, self._profile)
            case InputFile():
                return _file(part)
            case _:  # pragma: no cover
                assert_never(part)


def _texts(parts: Sequence[Part]) -> list[str]:
    return [part.text for part in parts if isinstance(part, InputText | OutputText)]


def _image(image: InputImage, profile: ModelProfile) -> Json:
    if not profile.accepts_images:
        raise unsupported("images")
    if image.image_url is None:
        raise unsupported("images by file id")
    detail = image.detail if image.detail != "auto" else None
    return {"type": "image_url", "image_url": present(url=image.image_url, detail=detail)}


def _file(file: InputFile) -> Json:
    if file.file_data is None:
        raise unsupported("files other than as file_data")
    name, data = file.filename or "file.pdf", file.file_data
    if split_data_url(data) is None:
        data = f"data:{media_type_of(name)};base64,{data}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}
