"""The bodies of `POST /v1/messages` and `/v1/messages/count_tokens`, as far as we act on them.

Source: `MessageCreateParams` in the `anthropic` package (types/message_create_params.py and the types it names).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct


class Tagged(Struct, tag_field="type"):
    """Base of everything that is told apart by its `type`."""


class ImageData(Tagged, tag="base64"):
    """An image in base64."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class PdfData(Tagged, tag="base64"):
    """A PDF in base64."""

    media_type: Literal["application/pdf"]
    data: str


class TextData(Tagged, tag="text"):
    """A document of plain text."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class Address(Tagged, tag="url"):
    """An image or a PDF on the web."""

    url: str


class Uploaded(Tagged, tag="file"):
    """A file uploaded before."""

    file_id: str


class TextBlock(Tagged, tag="text"):
    """Text."""

    text: str


class ImageBlock(Tagged, tag="image"):
    """An image."""

    source: ImageData | Address | Uploaded


class Composed(Tagged, tag="content"):
    """A document given as text and images."""

    content: str | list[TextBlock | ImageBlock]

    @property
    def blocks(self) -> list[TextBlock | ImageBlock]:
        """The content as blocks, however it was given."""
        return [TextBlock(self.content)] if isinstance(self.content, str) else self.content


class DocumentBlock(Tagged, tag="document"):
    """A document."""

    source: PdfData | TextData | Composed | Address | Uploaded
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Tagged, tag="search_result"):
    """What a search of the client's own found."""

    title: str
    source: str
    content: list[TextBlock]


class ToolUseBlock(Tagged, tag="tool_use"):
    """The model's call of a client's tool."""

    id: Annotated[str, Meta(min_length=1)]
    name: Annotated[str, Meta(min_length=1)]
    input: dict[str, Any]


class ToolResultBlock(Tagged, tag="tool_result"):
    """What a client's tool returned."""

    tool_use_id: Annotated[str, Meta(min_length=1)]
    content: str | list[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Tagged, tag="thinking"):
    """The model's reasoning and the proof that it is."""

    thinking: str
    signature: str


class RedactedThinkingBlock(Tagged, tag="redacted_thinking"):
    """Reasoning that only its provider can read."""

    data: str


UserBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock
AssistantBlock = TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock


class UserTurn(Struct, tag_field="role", tag="user"):
    """What the user, or a tool, says."""

    content: str | list[UserBlock]


class AssistantTurn(Struct, tag_field="role", tag="assistant"):
    """What the model said."""

    content: str | list[AssistantBlock]


class SystemTurn(Struct, tag_field="role", tag="system"):
    """What the operator says in the course of the conversation."""

    content: str | list[TextBlock]


Turn = UserTurn | AssistantTurn | SystemTurn


class ClientTool(Struct):
    """A tool of the client (`type` absent or `custom`), or one that the API itself defines."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class AutoChoice(Tagged, tag="auto"):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Tagged, tag="any"):
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Tagged, tag="tool"):
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Tagged, tag="none"):
    """No tool at all."""


class ThinkingEnabled(Tagged, tag="enabled"):
    budget_tokens: Annotated[int, Meta(ge=1024)]


class ThinkingAdaptive(Tagged, tag="adaptive"):
    """As much as the model finds fit."""


class ThinkingBetweenTools(Tagged, tag="between_tools"):
    """Only between calls of tools."""


class ThinkingDisabled(Tagged, tag="disabled"):
    """Not at all."""


class JsonFormat(Tagged, tag="json_schema"):
    schema: dict[str, Any]


class OutputConfig(Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class RequestMetadata(Struct):
    user_id: Annotated[str, Meta(max_length=512)] | None = None


class CountTokensRequest(Struct):
    """The body of `POST /v1/messages/count_tokens`."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[ClientTool] | None = None
    tool_choice: AutoChoice | AnyChoice | NamedChoice | NoChoice | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingBetweenTools | ThinkingDisabled | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """The body of `POST /v1/messages`."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    metadata: RequestMetadata | None = None
    stream: bool | None = None
