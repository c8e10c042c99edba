"""Conversation items: messages, tool calls and their outputs, reasoning, file searches.

Field names and nesting are those of the Responses API, so that an item is encoded as it stands.
Source: the item types of the `openai` package (types/responses/response_item.py).
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant", "system", "developer"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


@dataclass(slots=True)
class InputText:
    """Text given to the model."""

    text: str
    type: Literal["input_text"] = "input_text"


@dataclass(slots=True)
class InputImage:
    """An image given to the model by URL (a `data:` URL included) or by file id."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str = "auto"
    type: Literal["input_image"] = "input_image"


@dataclass(slots=True)
class InputFile:
    """A file given to the model by id, or inline as base64 (`file_data`, a `data:` URL or bare)."""

    file_id: str | None = None
    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    type: Literal["input_file"] = "input_file"


@dataclass(slots=True)
class FileCitation:
    """A place in a file that supports the answer.

    `index` is the code point of the output text at which the citation belongs; `quote ==
    text[start:end]` of the file's text; `page` counts from 1 (None for formats without pages).
    """

    file_id: str
    filename: str
    index: int
    page: int | None
    start: int
    end: int
    quote: str
    type: Literal["file_citation"] = "file_citation"


@dataclass(slots=True)
class UrlCitation:
    """A web page that supports the answer at `[start_index, end_index)` of the output text."""

    url: str
    title: str
    start_index: int
    end_index: int
    type: Literal["url_citation"] = "url_citation"


Annotation = FileCitation | UrlCitation


@dataclass(slots=True)
class OutputText:
    """Text the model wrote, with its citations."""

    text: str = ""
    annotations: list[Annotation] = field(default_factory=list[Annotation])
    logprobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    type: Literal["output_text"] = "output_text"


@dataclass(slots=True)
class Refusal:
    """The model's words for declining."""

    refusal: str = ""
    type: Literal["refusal"] = "refusal"


InputPart = InputText | InputImage | InputFile
OutputPart = OutputText | Refusal
Part = InputPart | OutputPart


@dataclass(slots=True)
class Message:
    """A message of any role; an assistant's message holds output parts."""

    id: str
    role: Role
    content: list[Part]
    status: ItemStatus = "completed"
    type: Literal["message"] = "message"


@dataclass(slots=True)
class FunctionCall:
    """A call of a client's function; `arguments` is the JSON text as the model wrote it."""

    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: ItemStatus = "completed"
    type: Literal["function_call"] = "function_call"


@dataclass(slots=True)
class FunctionCallOutput:
    """What a client's function returned: text, or parts."""

    id: str
    call_id: str
    output: str | list[InputPart]
    status: ItemStatus = "completed"
    type: Literal["function_call_output"] = "function_call_output"


@dataclass(slots=True)
class SummaryText:
    """One paragraph of a reasoning summary."""

    text: str = ""
    type: Literal["summary_text"] = "summary_text"


@dataclass(slots=True)
class ReasoningText:
    """One stretch of reasoning as the model wrote it."""

    text: str = ""
    type: Literal["reasoning_text"] = "reasoning_text"


@dataclass(slots=True)
class Reasoning:
    """The model's reasoning; `encrypted_content` is opaque and goes back to the provider as it came."""

    id: str
    summary: list[SummaryText] = field(default_factory=list[SummaryText])
    content: list[ReasoningText] = field(default_factory=list[ReasoningText])
    encrypted_content: str | None = None
    status: ItemStatus = "completed"
    type: Literal["reasoning"] = "reasoning"


@dataclass(slots=True)
class SearchResult:
    """A passage that a file search found, as the API shows it."""

    file_id: str
    filename: str
    score: float
    text: str
    attributes: dict[str, str | float | bool] = field(default_factory=dict[str, str | float | bool])


@dataclass(slots=True)
class FileSearchCall:
    """A search of the user's files; `results` only where the request asked to include them."""

    id: str
    queries: list[str]
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"] = "completed"
    results: list[SearchResult] | None = None
    type: Literal["file_search_call"] = "file_search_call"


@dataclass(slots=True)
class Compaction:
    """A conversation made short; `encrypted_content` is for who made it."""

    id: str
    encrypted_content: str
    type: Literal["compaction"] = "compaction"


Item = Message | FunctionCall | FunctionCallOutput | Reasoning | FileSearchCall | Compaction
OutputItem = Message | FunctionCall | Reasoning | FileSearchCall


def text_of(item: Item) -> str:
    """Return the plain text of a message (input and output text and refusals), "" for other items."""
    if not isinstance(item, Message):
        return ""
    return "\n".join(text for part in item.content if (text := _part_text(part)) is not None)


def _part_text(part: Part) -> str | None:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return text
        case Refusal(refusal=text):
            return text
        case _:
            return None
