"""A `ModelRequest` as a Responses request body.

Source: `ResponseCreateParams` in the `openai` package (types/responses/response_create_params.py).
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, assert_never, cast

from chatbackend.adapters.providers.codec import passthrough, present, unsupported
from chatbackend.adapters.providers.data_url import media_type_of, split_data_url
from chatbackend.adapters.providers.fitting import fitted
from chatbackend.adapters.providers.lengths import CALL_ID, USER, shortened
from chatbackend.adapters.providers.responses.seal import reasoning_item
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
    Reasoning,
    Refusal,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice

Json = dict[str, Any]


def request_body(request: ModelRequest, profile: ModelProfile) -> Json:
    """Return the body, fields that we do not know first so that they never override ours.

    Raises: InvalidRequest for what the dialect or the model has no way to say.
    """
    request = spoken(fitted(request, profile), profile)
    extra = passthrough(request, "responses")
    background = request.background and request.stream  # without a stream, only polling would end it
    said = _input(request, profile)
    reasoning = _fields(extra.get("reasoning")) | _reasoning(request)
    ours = present(
        model=request.model,
        instructions=request.instructions if profile.accepts_system else None,
        input=said,
        stream=request.stream,
        store=background,  # the provider demands it: who comes back asks for what was stored
        background=background or None,
        max_output_tokens=request.max_output_tokens or profile.default_max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_logprobs=request.top_logprobs,
        user=shortened(request.user, USER) if request.user else None,
        text=(_fields(extra.get("text")) | _text(request)) or None,
        reasoning=reasoning or None,
    )
    include = _include(extra.get("include"), _demanded(request, said, reasoning, profile))
    return extra | ours | include | _tools(request, profile)


def told_again(items: Sequence[Item], profile: ModelProfile) -> list[Json]:
    """Return items in the order and the words in which a request's input tells them."""
    return _in_order([said for item in items for said in _item(item, profile)])


def parted(said: list[Json]) -> tuple[list[Json], list[Json]]:
    """Cut an input behind the last that a model said: what was said up to its newest answer, and what is new."""
    known = next((place for place in range(len(said), 0, -1) if _is_of_model(said[place - 1])), 0)
    return said[:known], said[known:]


def _fields(given: object) -> Json:
    return cast(Json, given) if isinstance(given, dict) else {}


def _demanded(request: ModelRequest, said: Sequence[Json], reasoning: Json, profile: ModelProfile) -> list[str]:
    """Return what we need besides the output.

    A model that never reasons refuses a request that asks for the proof of its reasoning. So we ask only where
    the request itself speaks of reasoning; newer servers send the proof unasked.
    """
    spoken_of = reasoning or any(item["type"] == "reasoning" for item in said)
    reasons = spoken_of and profile.thinking != "none" and reasoning.get("effort") != "none"
    demanded = ["reasoning.encrypted_content"] if reasons else []
    return demanded if request.top_logprobs is None else [*demanded, "message.output_text.logprobs"]


def _include(theirs: object, ours: list[str]) -> Json:
    named = [*cast(list[str], theirs), *ours] if isinstance(theirs, list) else ours
    return {"include": [*dict.fromkeys(named)]} if named else {}


def _tools(request: ModelRequest, profile: ModelProfile) -> Json:
    if not request.tools:
        return {}
    if not profile.accepts_tools:
        raise unsupported("tools", param="tools")
    # Unsaid, `strict` means yes to this API (it rewrites the schema) and no to the others.
    strict = None if request.extra_dialect == "responses" else False
    return present(
        tools=[_tool(tool, strict) for tool in request.tools],
        tool_choice=_tool_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
    )


def _tool(tool: FunctionTool, unsaid: bool | None) -> Json:  # noqa: FBT001  # private
    fields = present(description=tool.description, strict=unsaid if tool.strict is None else tool.strict)
    return {"type": "function", "name": tool.name, "parameters": tool.parameters} | fields


def _tool_choice(choice: ToolChoice) -> str | Json | None:
    if choice.mode == "function":
        return {"type": "function", "name": choice.name}
    return None if choice.mode == "auto" else choice.mode


def _reasoning(request: ModelRequest) -> Json:
    return present(effort=request.reasoning_effort, summary=request.reasoning_summary)


def _text(request: ModelRequest) -> Json:
    return present(format=_format(request.text_format), verbosity=request.verbosity)


def _format(wanted: TextFormat) -> Json | None:
    match wanted.type:
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            fields = present(strict=wanted.strict, description=wanted.description)
            name = wanted.name or "answer"
            return {"type": "json_schema", "name": name, "schema": wanted.schema or {}} | fields
        case _:  # pragma: no cover
            assert_never(wanted.type)


def _input(request: ModelRequest, profile: ModelProfile) -> list[Json]:
    said = told_again(request.items, profile)
    if request.instructions and not profile.accepts_system:
        said.insert(0, _message("user", [{"type": "input_text", "text": request.instructions}]))
    return said


def _in_order(said: Sequence[Json]) -> list[Json]:
    """Put what a model said in one go into the order that every server takes.

    Reasoning stays before what it led to, and is left out where nothing followed. Calls come last: some servers
    take nothing between a call and its output.
    """
    ordered: list[Json] = []
    for of_model, group in groupby(said, key=_is_of_model):
        if not of_model:
            ordered += group
            continue
        steps: list[list[Json]] = [[]]
        for item in group:
            steps[-1].append(item)
            if item["type"] != "reasoning":
                steps.append([])
        steps.pop()
        ordered += [item for step in sorted(steps, key=_is_call) for item in step]
    return ordered


def _is_of_model(item: Json) -> bool:
    return item["type"] in {"reasoning", "function_call"} or item.get("role") == "assistant"


def _is_call(step: Sequence[Json]) -> bool:
    return step[-1]["type"] == "function_call"


def _item(item: Item, profile: ModelProfile) -> list[Json]:
    """Return the input item, without our id: the provider would look for it in vain."""
    match item:
        case Message():
            content = [_part(part, item.role, profile) for part in item.content]
            return [_message(_role(item, profile), content)] if content else []
        case FunctionCall():
            arguments = item.arguments or "{}"
            call_id = shortened(item.call_id, CALL_ID)
            return [{"type": "function_call", "call_id": call_id, "name": item.name, "arguments": arguments}]
        case FunctionCallOutput(output=output):
            said = output if isinstance(output, str) else [_part(part, "user", profile) for part in output]
            return [{"type": "function_call_output", "call_id": shortened(item.call_id, CALL_ID), "output": said}]
        case Reasoning():
            reasoning = reasoning_item(item)
            return [reasoning] if reasoning else []
        case _:  # what a file search found is already in the instructions
            return []


def _message(role: str, content: list[Json]) -> Json:
    return {"type": "message", "role": role, "content": content}


def _role(message: Message, profile: ModelProfile) -> str:
    if message.role in {"user", "assistant"}:
        return message.role
    return profile.system_role if profile.accepts_system else "user"


def _part(part: Part, role: str, profile: ModelProfile) -> Json:
    match part:
        case Refusal(refusal=text) if role == "assistant":
            return {"type": "refusal", "refusal": text}
        case InputText(text=text) | OutputText(text=text) | Refusal(refusal=text):
            if role == "assistant":
                return {"type": "output_text", "text": text, "annotations": []}
            return {"type": "input_text", "text": text}
        case InputImage():
            return _image(part, profile)
        case InputFile():
            return _file(part)
        case _:  # pragma: no cover
            assert_never(part)


def _image(image: InputImage, profile: ModelProfile) -> Json:
    if not profile.accepts_images:
        raise unsupported("images")
    if image.image_url is None:
        raise unsupported("images by file id")
    return {"type": "input_image", "image_url": image.image_url, "detail": image.detail}


def _file(file: InputFile) -> Json:
    if file.file_url is not None:
        return {"type": "input_file", "file_url": file.file_url}  # a name beside it is refused
    if file.file_data is None:
        raise unsupported("files by id")
    name, data = file.filename or "file.pdf", file.file_data
    if split_data_url(data) is None:
        data = f"data:{media_type_of(name)};base64,{data}"
    return {"type": "input_file", "filename": name, "file_data": data}
