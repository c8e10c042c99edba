"""What the scripted upstream was asked: the parts of a request body that scripts act on, in any dialect."""

import base64
import json
from typing import Any, cast

Json = dict[str, Any]


class Asked:
    """A request body of any dialect; `model` is the one that the address names, where it names one (Azure)."""

    def __init__(self, body: Json, model: str | None = None) -> None:
        self.body = body
        self.model = model or str(body.get("model"))
        self.stream = bool(body.get("stream"))
        self.messages = _messages(body)
        self.prompt = "\n".join(_texts([body.get("system"), body.get("instructions"), *self.messages]))
        self._of_user = [entry for entry in self.messages if entry.get("role") == "user"][-1:]
        self.user_text = "\n".join(_texts([*self._of_user]))

    @property
    def wants_usage(self) -> bool:
        """Whether a Chat Completions stream was asked to report usage."""
        return bool(as_object(self.body.get("stream_options")).get("include_usage"))

    @property
    def words(self) -> int:
        """What we say that the prompt costs in tokens."""
        return len(self.prompt.split())

    def tools(self) -> list[Json]:
        """Return the tools to call: all, or the first where parallel calls are off; none once an output is there."""
        last = self.messages[-1] if self.messages else {}
        blocks = [as_object(block).get("type") for block in as_list(last.get("content"))]
        if last.get("role") == "tool" or last.get("type") == "function_call_output" or "tool_result" in blocks:
            return []
        tools = self.offered()
        serial = as_object(self.body.get("tool_choice")).get("disable_parallel_tool_use")
        return tools[:1] if serial or self.body.get("parallel_tool_calls") is False else tools

    def offered(self) -> list[Json]:
        """Return the tools that may be called."""
        given = [as_object(tool) for tool in as_list(self.body.get("tools"))]
        return [tool for entry in given if (tool := as_object(entry.get("function")) or entry).get("name")]

    @property
    def outputs(self) -> int:
        """How many outputs of tools the context holds."""
        return sum(
            entry.get("role") == "tool" or entry.get("type") == "function_call_output" for entry in self.messages
        )

    def schema(self) -> Json:
        """Return the schema that the answer shall have."""
        chat = as_object(as_object(self.body.get("response_format")).get("json_schema"))
        messages = as_object(as_object(self.body.get("output_config")).get("format"))
        responses = as_object(as_object(self.body.get("text")).get("format"))
        given = [as_object(place.get("schema")) for place in (chat, messages, responses)]
        return next((schema for schema in given if schema), None) or {"properties": {"answer": {"type": "string"}}}

    def attachments(self) -> list[str]:
        """Return, for each image or file of the last user message, its media type and size, or its address."""
        blocks = [as_object(block) for entry in self._of_user for block in as_list(entry.get("content"))]
        return [said for block in blocks if (said := _attachment(block))]


def as_object(value: object) -> Json:
    """Return a JSON object, {} for anything else."""
    return cast(Json, value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return a JSON array, [] for anything else."""
    return cast(list[object], value) if isinstance(value, list) else []


def parameters(tool: Json) -> Json:
    """Return the JSON schema of a tool's arguments, under the name that its dialect gives it."""
    return as_object(tool.get("parameters")) or as_object(tool.get("input_schema"))


def filled(schema: Json, text: str) -> object:
    """Return a value that fits a (simple) JSON schema, with `text` for every string."""
    match schema.get("type", "object"):
        case "object":
            return {name: filled(as_object(part), text) for name, part in as_object(schema.get("properties")).items()}
        case "array":
            return [filled(as_object(schema.get("items")) or {"type": "string"}, text)]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case _:
            return (as_list(schema.get("enum")) or [text])[0]


def _messages(body: Json) -> list[Json]:
    """Return the messages (items, for the Responses API); bare text is a user's."""
    given = body.get("messages") if "messages" in body else body.get("input")
    entries = [given] if isinstance(given, str) else as_list(given)
    return [{"role": "user", "content": entry} if isinstance(entry, str) else as_object(entry) for entry in entries]


def _texts(value: object) -> list[str]:
    """Return every text in messages of any dialect, outputs of tools included."""
    if isinstance(value, str):
        return [value]
    inside = as_list(value) or [as_object(value).get(name) for name in ("text", "content", "output")]
    return [text for entry in inside if entry is not None for text in _texts(entry)]


def _attachment(block: Json) -> str:
    source, file = as_object(block.get("source")), as_object(block.get("file"))
    if source.get("type") == "base64":
        return _described(str(source.get("media_type")), str(source.get("data")))
    image = block.get("image_url")
    places = (source.get("url"), as_object(image).get("url"), image, file.get("file_data"), block.get("file_data"))
    address = next((place for place in places if isinstance(place, str)), "")
    if not address.startswith("data:"):
        return address and f"an address ({json.dumps(address)})"
    media_type, _, data = address.removeprefix("data:").partition(";base64,")
    return _described(media_type, data)


def _described(media_type: str, data: str) -> str:
    return f"{media_type} of {len(base64.b64decode(data, validate=True))} bytes"
