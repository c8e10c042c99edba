"""Items as clients send them and as the store keeps them: tagged structs, and their way into the domain.

Source: the input item types of the `openai` package (types/responses/response_input_item.py).
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from chatbackend.domain import items as domain
from chatbackend.domain.compaction import is_ours
from chatbackend.domain.errors import InvalidRequest

NewId = Callable[[str], str]
Status = Literal["in_progress", "completed", "incomplete"]


class Tagged(Struct, tag_field="type", omit_defaults=True):
    """Base of everything that is told apart by its `type`."""


class InputText(Tagged, tag="input_text"):
    text: str

    def to_domain(self) -> domain.InputText:
        return domain.InputText(self.text)


class PlainText(Tagged, tag="text"):
    """The spelling that the Conversations API also allows."""

    text: str

    def to_domain(self) -> domain.InputText:
        return domain.InputText(self.text)


class InputImage(Tagged, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None

    def to_domain(self) -> domain.InputImage:
        if (self.image_url is None) == (self.file_id is None):
            raise InvalidRequest("An input_image needs either image_url or file_id.", param="input")
        return domain.InputImage(self.image_url, self.file_id, self.detail or "auto")


class InputFile(Tagged, tag="input_file"):
    file_id: str | None = None
    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    detail: str | None = None

    def to_domain(self) -> domain.InputFile:
        if sum(source is not None for source in (self.file_id, self.file_data, self.file_url)) != 1:
            raise InvalidRequest("An input_file needs exactly one of file_id, file_data and file_url.", param="input")
        if self.file_url is not None:
            raise InvalidRequest("Fetching files by URL is off; upload the file and send its file_id.", param="input")
        return domain.InputFile(self.file_id, self.filename, self.file_data)


class FileCitation(Tagged, tag="file_citation"):
    file_id: str
    filename: str = ""
    index: int = 0
    page: int | None = None
    start: int = 0
    end: int = 0
    quote: str = ""

    def to_domain(self) -> domain.Annotation:
        return domain.FileCitation(
            self.file_id, self.filename, self.index, page=self.page, start=self.start, end=self.end, quote=self.quote
        )


class UrlCitation(Tagged, tag="url_citation"):
    url: str
    title: str = ""
    start_index: int = 0
    end_index: int = 0

    def to_domain(self) -> domain.Annotation:
        return domain.UrlCitation(self.url, self.title, self.start_index, self.end_index)


class TopLogprob(Struct):
    token: str
    logprob: float
    bytes: list[int]


class Logprob(TopLogprob):
    top_logprobs: list[TopLogprob] = []


class OutputText(Tagged, tag="output_text"):
    text: str
    annotations: list[FileCitation | UrlCitation] | None = None
    logprobs: list[Logprob] | None = None

    def to_domain(self) -> domain.OutputText:
        notes = [note.to_domain() for note in self.annotations or ()]
        return domain.OutputText(self.text, notes, msgspec.to_builtins(self.logprobs or []))


class Refusal(Tagged, tag="refusal"):
    refusal: str

    def to_domain(self) -> domain.Refusal:
        return domain.Refusal(self.refusal)


Part = InputText | PlainText | InputImage | InputFile | OutputText | Refusal
OutputContent = InputText | PlainText | InputImage | InputFile


class Message(Tagged, tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status | None = None

    def to_domain(self, new_id: NewId) -> domain.Message:
        given = [PlainText(self.content)] if isinstance(self.content, str) else self.content
        parts = [self._part(part) for part in given]
        return domain.Message(self.id or new_id("msg"), self.role, parts, self.status or "completed")

    def _part(self, part: "Part") -> domain.Part:
        """An assistant's message holds output, any other input; the words of either may be called plain text."""
        answers = self.role == "assistant"
        match part:
            case InputText() | PlainText() if answers:
                return domain.OutputText(part.text)
            case OutputText() | Refusal() if not answers:
                raise InvalidRequest(f"A message of role {self.role} holds no output_text or refusal.", param="input")
            case InputImage() | InputFile() if answers:
                raise InvalidRequest("A message of role assistant holds no images or files.", param="input")
            case _:
                return part.to_domain()


class FunctionCall(Tagged, tag="function_call"):
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status | None = None

    def to_domain(self, new_id: NewId) -> domain.FunctionCall:
        return domain.FunctionCall(
            self.id or new_id("fc"), self.call_id, self.name, self.arguments, self.status or "completed"
        )


class FunctionCallOutput(Tagged, tag="function_call_output"):
    call_id: str
    output: str | list[OutputContent]
    id: str | None = None
    status: Status | None = None

    def to_domain(self, new_id: NewId) -> domain.FunctionCallOutput:
        output = self.output if isinstance(self.output, str) else [part.to_domain() for part in self.output]
        return domain.FunctionCallOutput(self.id or new_id("fco"), self.call_id, output, self.status or "completed")


class SummaryText(Tagged, tag="summary_text"):
    text: str


class ReasoningText(Tagged, tag="reasoning_text"):
    text: str


class Reasoning(Tagged, tag="reasoning"):
    summary: list[SummaryText] = []
    id: str | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status | None = None

    def to_domain(self, new_id: NewId) -> domain.Reasoning:
        return domain.Reasoning(
            self.id or new_id("rs"),
            [domain.SummaryText(part.text) for part in self.summary],
            [domain.ReasoningText(part.text) for part in self.content or ()],
            encrypted_content=self.encrypted_content,
            status=self.status or "completed",
        )


class SearchResult(Struct, omit_defaults=True):
    file_id: str = ""
    filename: str = ""
    score: float = 0.0
    text: str = ""
    attributes: dict[str, str | float | bool] | None = None


class FileSearchCall(Tagged, tag="file_search_call"):
    queries: list[str]
    id: str | None = None
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"] = "completed"
    results: list[SearchResult] | None = None

    def to_domain(self, new_id: NewId) -> domain.FileSearchCall:
        results = None
        if self.results is not None:
            results = [
                domain.SearchResult(hit.file_id, hit.filename, hit.score, hit.text, hit.attributes or {})
                for hit in self.results
            ]
        return domain.FileSearchCall(self.id or new_id("fs"), self.queries, self.status, results)


class Compaction(Tagged, tag="compaction"):
    encrypted_content: str
    id: str | None = None

    def to_domain(self, new_id: NewId) -> domain.Compaction:
        item = domain.Compaction(self.id or new_id("cmp"), self.encrypted_content)
        if not is_ours(item):
            raise InvalidRequest("This compaction was made by another service, which alone can read it.", param="input")
        return item


class ItemReference(Tagged, tag="item_reference"):
    """Names an item that is already in the context; it adds nothing here."""

    id: str

    def to_domain(self, new_id: NewId) -> None:
        return None


Item = Message | FunctionCall | FunctionCallOutput | Reasoning | FileSearchCall | Compaction | ItemReference
InputItems = Annotated[list[dict[str, Any]], Meta(description="Items of the Responses API, oldest first.")]

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Item)


def encode(item: domain.Item) -> bytes:
    """Return an item as JSON: its wire shape, which is also its stored shape."""
    return _ENCODER.encode(item)


def decode(body: bytes) -> domain.Item:
    """Read a stored item back; raises msgspec.ValidationError for what `encode` did not write."""
    found = _DECODER.decode(body).to_domain(_no_id)
    if found is None:
        raise InvalidRequest("A reference is not an item.")
    return found


def from_input(given: str | Iterable[dict[str, Any]], new_id: NewId, *, param: str = "input") -> list[domain.Item]:
    """Turn a request's field `param` (a text, or items with `type` optional on messages) into items.

    Raises: InvalidRequest naming the place.
    """
    if isinstance(given, str):
        return [domain.Message(new_id("msg"), "user", [domain.InputText(given)])]
    tagged = [{"type": "message", **item} for item in given]
    try:
        items = [item.to_domain(new_id) for item in msgspec.convert(tagged, list[Item])]
    except msgspec.ValidationError as error:
        raise InvalidRequest(_worded(error, param), param=param) from error
    except InvalidRequest as error:
        error.param = param
        raise
    return [item for item in items if item is not None]


def _worded(error: msgspec.ValidationError, param: str) -> str:
    """Word msgspec's complaint (`... - at `$[0].role``) as one about the field `param`."""
    return f"Invalid {param}: {str(error).replace('`$', f'`{param}')}."


def _no_id(prefix: str) -> str:
    raise msgspec.ValidationError(f"a stored item has no id ({prefix})")
