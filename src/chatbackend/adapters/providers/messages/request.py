"""A `ModelRequest` as an Anthropic Messages request body.

Source: `MessageCreateParams` in the `anthropic` package (types/message_create_params.py).
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, assert_never

import msgspec

from chatbackend.adapters.providers.codec import GARBAGE, passthrough, present, unsupported
from chatbackend.adapters.providers.data_url import media_type_of, split_data_url
from chatbackend.adapters.providers.fitting import OPENING, fitted
from chatbackend.adapters.providers.messages.seal import thinking_block
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
    text_of,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest

Json = dict[str, Any]
Block = tuple[str, Json]  # (role, content block)

_MIN_BUDGET = 1024
_BUDGETS = {"minimal": _MIN_BUDGET, "low": 4_096, "medium": 12_288, "high": 24_576, "xhigh": 32_768, "max": 65_536}
_MAX_TEMPERATURE = 1  # of the API; OpenAI goes up to 2
_EFFORTS = {"none": None, "minimal": "low"}
_THINKING = ("thinking", "redacted_thinking")


def request_body(request: ModelRequest, profile: ModelProfile) -> Json:
    """Return the body, fields that we do not know first so that they never override ours.

    Raises: InvalidRequest for what the dialect or the model has no way to say.
    """
    request = _sampled(spoken(fitted(request, profile), profile))
    extra = passthrough(request, "messages")
    turns = _turns(_blocks(request.items, profile))
    config: Json = extra.pop("output_config", {}) | _output_config(request, profile)
    ours = present(
        model=request.model,
        system=_system(request) or None,
        messages=turns,
        stream=request.stream,
        temperature=request.temperature,
        top_p=request.top_p,
        stop_sequences=request.stop or None,
        metadata={"user_id": request.user} if request.user else None,
        output_config=config or None,
    )
    limits = _limits(request, profile, extra.pop("thinking", None), turns)
    return extra | ours | limits | _tools(request, profile)


def _limits(request: ModelRequest, profile: ModelProfile, said: Json | None, turns: Sequence[Json]) -> Json:
    """Return how much may be written and thought. `said`: the thinking that was asked for in the API's own words."""
    usual = profile.default_max_tokens or profile.max_output_tokens
    limit = request.max_output_tokens
    max_tokens = limit or _room(request, profile, usual)
    answer = 1 if limit else min(usual, max_tokens // 2)
    thinking = said if _is_of_claude(request) else _thinking(request, profile, max_tokens - answer)
    return present(max_tokens=max_tokens, thinking=None if _is_too_late(thinking, turns) else thinking)


def _is_of_claude(request: ModelRequest) -> bool:
    """Return whether the caller speaks to Claude in its own dialect, and so has said all about thinking in it."""
    return request.extra_dialect == "messages"


def _sampled(request: ModelRequest) -> ModelRequest:
    """Return the request with one of `temperature` and `top_p` where the other says nothing.

    Newer models refuse both together. Raises: InvalidRequest for a temperature that the API does not have.
    """
    if request.temperature is not None and request.temperature > _MAX_TEMPERATURE:
        raise unsupported(f"a temperature above {_MAX_TEMPERATURE}", param="temperature")
    if request.temperature is None or request.top_p is None:
        return request
    if request.top_p == 1:
        return replace(request, top_p=None)
    return replace(request, temperature=None) if request.temperature == 1 else request


def _room(request: ModelRequest, profile: ModelProfile, usual: int) -> int:
    """Return the limit where none was asked for: room for a usual answer behind the thinking, which counts too."""
    thinks = profile.thinking != "none" and request.reasoning_effort is not None
    thought = _BUDGETS.get(request.reasoning_effort or "", 0) if thinks else 0
    return max(usual, min(usual + thought, profile.max_output_tokens))


def _is_too_late(thinking: Json | None, turns: Sequence[Json]) -> bool:
    """Return whether a budget to think comes in the middle of calls that another model began without thinking.

    The API refuses that; models that think as they find fit do not mind.
    """
    if thinking is None or thinking.get("type") != "enabled":
        return False
    late = False
    for called, returned in zip(turns[-2::-2], turns[::-2], strict=False):
        if not any(block["type"] == "tool_result" for block in returned["content"]):
            break
        if any(block["type"] in _THINKING for block in called["content"]):
            return False
        late = True
    return late


def _system(request: ModelRequest) -> str:
    texts = [request.instructions or ""]
    texts += [text_of(item) for item in request.items if _is_system(item)]
    return "\n\n".join(filter(None, texts))


def _is_system(item: Item) -> bool:
    return isinstance(item, Message) and item.role in {"system", "developer"}


def _thinking(request: ModelRequest, profile: ModelProfile, most: int) -> Json | None:
    effort = request.reasoning_effort
    if effort is None or profile.thinking == "none":
        return None
    if effort == "none":
        return {"type": "disabled"} if profile.can_stop_thinking else None
    if profile.thinking == "adaptive":
        return present(type="adaptive", display="summarized" if request.reasoning_summary else None)
    budget = min(_BUDGETS.get(effort, _MIN_BUDGET), most)
    return {"type": "enabled", "budget_tokens": budget} if budget >= _MIN_BUDGET else None


def _output_config(request: ModelRequest, profile: ModelProfile) -> Json:
    effort = request.reasoning_effort if profile.thinking == "adaptive" and not _is_of_claude(request) else None
    wanted = request.text_format
    return present(
        effort=_EFFORTS.get(effort, effort) if effort else None,
        format={"type": "json_schema", "schema": wanted.schema or {}} if wanted.type == "json_schema" else None,
    )


def _tools(request: ModelRequest, profile: ModelProfile) -> Json:
    if not request.tools:
        return {}
    if not profile.accepts_tools:
        raise unsupported("tools", param="tools")
    return present(tools=[_tool(tool) for tool in request.tools], tool_choice=_tool_choice(request))


def _tool(tool: FunctionTool) -> Json:
    schema = tool.parameters or {"type": "object", "properties": {}}
    return present(name=tool.name, description=tool.description, input_schema=schema, strict=tool.strict)


def _tool_choice(request: ModelRequest) -> Json | None:
    serial = True if request.parallel_tool_calls is False else None
    match request.tool_choice.mode:
        case "auto":
            return {"type": "auto", "disable_parallel_tool_use": True} if serial else None
        case "none":
            return {"type": "none"}
        case "required":
            return present(type="any", disable_parallel_tool_use=serial)
        case "function":
            return present(type="tool", name=request.tool_choice.name, disable_parallel_tool_use=serial)
        case _:  # pragma: no cover
            assert_never(request.tool_choice.mode)


def _turns(blocks: Sequence[Block]) -> list[Json]:
    """Return alternating turns, the user's first; in the user's, tool results come first, as the API demands."""
    turns: list[Json] = []
    for role, group in groupby(_without_last_thoughts(_without_last_spaces(blocks)), key=lambda block: block[0]):
        content = sorted((block for _, block in group), key=lambda block: block["type"] != "tool_result")
        turns.append({"role": role, "content": content})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
    return turns


def _without_last_spaces(blocks: Sequence[Block]) -> Sequence[Block]:
    """Leave out white space that an answer to go on from would end with: the API refuses it."""
    if not blocks or blocks[-1][0] != "assistant" or blocks[-1][1]["type"] != "text":
        return blocks
    text = blocks[-1][1]["text"].rstrip()
    return [*blocks[:-1], ("assistant", {"type": "text", "text": text})] if text else blocks[:-1]


def _without_last_thoughts(blocks: Sequence[Block]) -> list[Block]:
    """Leave out thinking that nothing of the same turn follows: the API takes no turn that ends with it."""
    kept: list[Block] = []
    for role, block in reversed(blocks):
        if block["type"] not in _THINKING or (kept and kept[-1][0] == role):
            kept.append((role, block))
    return kept[::-1]


def _blocks(items: Iterable[Item], profile: ModelProfile) -> list[Block]:
    blocks: list[Block] = []
    for item in items:
        match item:
            case Message(role="user" | "assistant"):
                blocks += [(item.role, block) for block in _content(item.content, profile)]
            case FunctionCall():
                blocks.append(("assistant", _tool_use(item)))
            case FunctionCallOutput():
                blocks.append(("user", _tool_result(item, profile)))
            case Reasoning():
                if block := thinking_block(item):
                    blocks.append(("assistant", block))
            case _:  # system messages stand elsewhere, file searches are already in the instructions
                pass
    return blocks


def _tool_use(call: FunctionCall) -> Json:
    try:
        arguments = msgspec.json.decode(call.arguments, type=dict[str, Any])
    except GARBAGE:  # an interrupted call, or a model that wrote no JSON
        arguments = {}
    return {"type": "tool_use", "id": _tool_id(call.call_id), "name": call.name, "input": arguments}


def _tool_result(output: FunctionCallOutput, profile: ModelProfile) -> Json:
    content = output.output if isinstance(output.output, str) else _content(output.output, profile)
    return {"type": "tool_result", "tool_use_id": _tool_id(output.call_id), "content": content}


def _tool_id(call_id: str) -> str:
    """Return the id in the API's alphabet; calls and results of other providers' models still match."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _content(parts: Sequence[Part], profile: ModelProfile) -> list[Json]:
    """Return content blocks; empty texts are left out, since the API refuses them."""
    blocks: list[Json] = []
    for part in parts:
        match part:
            case InputText(text=text) | OutputText(text=text) | Refusal(refusal=text):
                blocks += [{"type": "text", "text": text}] if text else []
            case InputImage():
                blocks.append({"type": "image", "source": _image(part, profile)})
            case InputFile():
                title = {"title": part.filename} if part.filename else {}
                blocks.append({"type": "document", "source": _document(part)} | title)
            case _:  # pragma: no cover
                assert_never(part)
    return blocks


def _image(image: InputImage, profile: ModelProfile) -> Json:
    if not profile.accepts_images:
        raise unsupported("images")
    if image.image_url is None:
        raise unsupported("images by file id")
    if data := split_data_url(image.image_url):
        return {"type": "base64", "media_type": data[0], "data": data[1]}
    return {"type": "url", "url": image.image_url}


def _document(file: InputFile) -> Json:
    if file.file_url is not None:
        return {"type": "url", "url": file.file_url}
    if file.file_data is None:
        raise unsupported("files by id")
    media_type, data = split_data_url(file.file_data) or (media_type_of(file.filename or ""), file.file_data)
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": data}
    if not media_type.startswith(("text/", "application/json")):
        raise unsupported(f"files of type {media_type}")
    try:
        return {"type": "text", "media_type": "text/plain", "data": b64decode(data, validate=True).decode()}
    except ValueError as error:
        raise unsupported("text files that are not base64 of UTF-8") from error
