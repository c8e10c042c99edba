"""Messages and their content blocks as items of the domain, in their order."""

from collections.abc import Sequence
from typing import Literal, assert_never

import msgspec

from chatbackend.adapters.api.messages import shapes
from chatbackend.adapters.api.messages.marks import given_id, seal_of
from chatbackend.adapters.providers.messages.seal import seal_redacted
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
)

_FAILED = "The tool failed:"  # no other dialect has a field that says it


def items_of(turns: Sequence[shapes.Turn]) -> list[Item]:
    """Return the items that a conversation's turns hold."""
    items: list[Item] = []
    for turn in turns:
        match turn:
            case shapes.UserTurn():
                items += _user(turn)
            case shapes.AssistantTurn():
                items += _assistant(turn)
            case shapes.SystemTurn():
                items.append(Message("msg", "system", [InputText(joined(turn.content))]))
            case _:  # pragma: no cover
                assert_never(turn)
    return items


def joined(content: str | list[shapes.TextBlock]) -> str:
    """Return a text, or blocks of it, as one text."""
    return content if isinstance(content, str) else "\n\n".join(block.text for block in content)


def _user(turn: shapes.UserTurn) -> list[Item]:
    if isinstance(turn.content, str):
        return [Message("msg", "user", [InputText(turn.content)])]
    items: list[Item] = []
    for block in turn.content:
        if isinstance(block, shapes.ToolResultBlock):
            items.append(_result(block))
        else:
            _said(items, "user").extend(_parts(block))
    return items


def _assistant(turn: shapes.AssistantTurn) -> list[Item]:
    if isinstance(turn.content, str):
        return [Message("msg", "assistant", [OutputText(turn.content)])]
    items: list[Item] = []
    for block in turn.content:
        match block:
            case shapes.TextBlock():
                _said(items, "assistant").append(OutputText(block.text))
            case shapes.ToolUseBlock():
                arguments = msgspec.json.encode(block.input).decode()
                items.append(FunctionCall("fc", given_id(block.id), block.name, arguments))
            case shapes.ThinkingBlock():
                items.append(_thought(block))
            case shapes.RedactedThinkingBlock():
                items.append(Reasoning("rs", encrypted_content=seal_redacted(block.data)))
            case _:  # pragma: no cover
                assert_never(block)
    return items


def _said(items: list[Item], role: Literal["user", "assistant"]) -> list[Part]:
    """Return the content of the turn's message under way, which is a new one behind anything else."""
    last = items[-1] if items else None
    if not isinstance(last, Message):
        last = Message("msg", role, [])
        items.append(last)
    return last.content


def _thought(block: shapes.ThinkingBlock) -> Reasoning:
    text = [ReasoningText(block.thinking)] if block.thinking else []
    return Reasoning("rs", content=text, encrypted_content=seal_of(block.signature))


def _result(block: shapes.ToolResultBlock) -> FunctionCallOutput:
    content = block.content or ""
    if isinstance(content, str):
        output = f"{_FAILED}\n{content}" if block.is_error else content
        return FunctionCallOutput("fco", given_id(block.tool_use_id), output)
    parts: list[InputPart] = [InputText(_FAILED)] if block.is_error else []
    parts += [part for inner in content for part in _parts(inner)]
    return FunctionCallOutput("fco", given_id(block.tool_use_id), parts)


def _parts(
    block: shapes.TextBlock | shapes.ImageBlock | shapes.DocumentBlock | shapes.SearchResultBlock,
) -> list[InputPart]:
    match block:
        case shapes.TextBlock():
            return [InputText(block.text)]
        case shapes.ImageBlock():
            return [_image(block)]
        case shapes.DocumentBlock():
            return _document(block)
        case shapes.SearchResultBlock():
            texts = "\n".join(inner.text for inner in block.content)
            return [InputText(f"Search result: {block.title}\nSource: {block.source}\n{texts}")]
        case _:  # pragma: no cover
            assert_never(block)


def _image(block: shapes.ImageBlock) -> InputImage:
    match block.source:
        case shapes.ImageData(media_type=media_type, data=data):
            return InputImage(f"data:{media_type};base64,{data}")
        case shapes.Address(url=url):
            return InputImage(url)
        case shapes.Uploaded(file_id=file_id):
            return InputImage(file_id=file_id)
        case _:  # pragma: no cover
            assert_never(block.source)


def _document(block: shapes.DocumentBlock) -> list[InputPart]:
    """Return a document as parts: a PDF as a file, anything that is text as text, behind its title and context."""
    head = "\n".join(filter(None, (block.title and f"Document: {block.title}", block.context)))
    match block.source:
        case shapes.PdfData(data=data):
            name = block.title if block.title and block.title.endswith(".pdf") else f"{block.title or 'document'}.pdf"
            content: list[InputPart] = [InputFile(filename=name, file_data=f"data:application/pdf;base64,{data}")]
        case shapes.Address(url=url):
            content = [InputFile(file_url=url)]
        case shapes.Uploaded(file_id=file_id):
            content = [InputFile(file_id=file_id)]
        case shapes.TextData(data=text):
            content = [InputText(text)]
        case shapes.Composed():
            content = [part for inner in block.source.blocks for part in _parts(inner)]
        case _:  # pragma: no cover
            assert_never(block.source)
    return [InputText(head), *content] if head else content
