"""A stream of the Responses API, held against what the Open Responses specification requires: keys, order, sameness.

Source: https://www.openresponses.org/specification, and the required properties of its schemas. Where the name of an
event differs (`response.reasoning.delta`), it is the one of the `openai` package. `logprobs` of a text are optional
there and always given here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

RESPONSE = frozenset(
    [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "incomplete_details",
        "model",
        "previous_response_id",
        "instructions",
        "output",
        "error",
        "tools",
        "tool_choice",
        "truncation",
        "parallel_tool_calls",
        "text",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "temperature",
        "reasoning",
        "usage",
        "max_output_tokens",
        "max_tool_calls",
        "store",
        "background",
        "service_tier",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "user",
    ]
)
USAGE = {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"}
TOOLS = {
    "function": {"name", "description", "parameters", "strict"},
    "file_search": {"vector_store_ids", "filters"},
}
FORMATS: dict[str, set[str]] = {
    "text": set(),
    "json_object": set(),
    "json_schema": {"name", "description", "schema", "strict"},
}
ITEMS = {
    "message": {"id", "role", "status", "content"},
    "function_call": {"id", "call_id", "name", "arguments", "status"},
    "reasoning": {"id", "summary", "content", "encrypted_content"},
    "file_search_call": {"id", "status", "queries", "results"},
}
PARTS = {
    "output_text": {"text", "annotations", "logprobs"},
    "refusal": {"refusal"},
    "reasoning_text": {"text"},
    "summary_text": {"text"},
}
ANNOTATIONS = {
    "url_citation": {"url", "title", "start_index", "end_index"},
    "file_citation": {"file_id", "filename", "index"},
}
# Of each part: its opening and closing event, its growing and its grown one, the place's key, the key of the whole.
_CONTENT = ("response.content_part.added", "response.content_part.done")
_SUMMARY = ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done")
_TEXTS = {
    "output_text": (*_CONTENT, "response.output_text", "content_index", "text"),
    "refusal": (*_CONTENT, "response.refusal", "content_index", "refusal"),
    "reasoning_text": (*_CONTENT, "response.reasoning_text", "content_index", "text"),
    "summary_text": (*_SUMMARY, "response.reasoning_summary_text", "summary_index", "text"),
}
_BEGINNING = ("response.created", "response.in_progress")
_ENDS = {"response.completed", "response.incomplete", "response.failed"}


def hold(events: Sequence[Json]) -> None:
    """Hold a whole stream against the specification. Raises: AssertionError saying what is not as it demands."""
    kinds = [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert tuple(kind for kind in kinds if kind != "response.queued")[:2] == _BEGINNING
    assert kinds[-1] in _ENDS
    assert not _ENDS & set(kinds[:-1])
    for event in events:
        if "response" in event:
            hold_response(event["response"])
    told = [event for event in events if "output_index" in event]
    assert {event["type"] for event in events if event not in told} <= {*_BEGINNING, *_ENDS, "response.queued"}
    output = events[-1]["response"]["output"]
    for index in {event["output_index"] for event in told}:
        item = _Item([event for event in told if event["output_index"] == index])
        item.hold()
        assert item.whole == output[index]
    added = [event["output_index"] for event in told if event["type"] == "response.output_item.added"]
    assert added == list(range(len(output)))


def hold_response(response: Json) -> None:
    """Hold a response object against the specification. Raises: AssertionError."""
    assert set(response) >= RESPONSE, RESPONSE - set(response)
    ended = response["status"] in {"completed", "failed", "incomplete", "cancelled"}
    assert (response["completed_at"] is not None) == (response["status"] == "completed")
    assert (response["error"] is not None) == (response["status"] == "failed")
    assert (response["incomplete_details"] is not None) == (response["status"] in {"incomplete", "cancelled"})
    assert ended or response["output"] == []
    if response["usage"] is not None:
        assert set(response["usage"]) >= USAGE
    form = response["text"]["format"]
    assert set(form) >= FORMATS[form["type"]], form
    assert set(response["reasoning"]) >= {"effort", "summary"}
    for tool in response["tools"]:
        assert set(tool) >= TOOLS[tool["type"]], tool
    for item in response["output"]:
        _hold_item(item)


def _hold_item(item: Json) -> None:
    assert set(item) >= ITEMS[item["type"]], item
    for part in [*(item.get("content") or ()), *item.get("summary", ())]:
        _hold_part(part)


def _hold_part(part: Json) -> None:
    assert set(part) >= PARTS[part["type"]], part
    for note in part.get("annotations", ()):
        assert set(note) >= ANNOTATIONS[note["type"]], note


@dataclass
class _Item:
    """The events of one output item, which may stand among those of others (parallel calls)."""

    events: list[Json]
    whole: Json = field(default_factory=dict[str, Any])

    def hold(self) -> None:
        opening, *inside, closing = self.events
        assert (opening["type"], closing["type"]) == ("response.output_item.added", "response.output_item.done")
        self.whole = closing["item"]
        for item in (opening["item"], self.whole):
            _hold_item(item)
            assert (item["id"], item["type"]) == (opening["item"]["id"], opening["item"]["type"])
        assert opening["item"].get("status", "in_progress") == "in_progress"
        assert self.whole.get("status", "completed") in {"completed", "incomplete"}
        assert {event["item_id"] for event in inside} <= {self.whole["id"]}
        match self.whole["type"]:
            case "function_call":
                self._hold_call(inside)
            case "file_search_call":
                stages = [event["type"].removeprefix("response.file_search_call.") for event in inside]
                assert stages == ["in_progress", "searching", "completed"]
            case _:
                assert opening["item"].get("content", []) == opening["item"].get("summary", []) == []
                self._hold_parts(inside)

    def _hold_call(self, inside: list[Json]) -> None:
        name = "response.function_call_arguments"
        deltas = [event["delta"] for event in inside if event["type"] == f"{name}.delta"]
        assert self.whole["arguments"] == "".join(deltas)
        if self.whole["status"] == "completed":
            assert inside[-1]["type"] == f"{name}.done"
            assert inside[-1]["arguments"] == self.whole["arguments"]
        assert len(inside) == len(deltas) + (self.whole["status"] == "completed")

    def _hold_parts(self, inside: list[Json]) -> None:
        starts = [number for number, event in enumerate(inside) if event["type"] in {_CONTENT[0], _SUMMARY[0]}]
        assert starts[:1] in ([], [0])
        shown = [*(self.whole.get("content") or ()), *self.whole.get("summary", ())]
        assert len(shown) == len(starts)
        for start, end in pairwise([*starts, len(inside)]):
            self._hold_text(inside[start:end])

    def _hold_text(self, events: list[Json]) -> None:
        opening, *inside, grown, closing = events
        kind: str = opening["part"]["type"]
        first, last, name, place, key = _TEXTS[kind]
        assert (opening["type"], grown["type"], closing["type"]) == (first, f"{name}.done", last)
        assert len({event[place] for event in events}) == 1
        for part in (opening["part"], closing["part"]):
            _hold_part(part)
        assert opening["part"][key] == ""
        deltas = [event for event in inside if event["type"] == f"{name}.delta"]
        notes = [event for event in inside if event["type"] == "response.output_text.annotation.added"]
        assert len(deltas) + len(notes) == len(inside)
        assert "".join(event["delta"] for event in deltas) == grown[key] == closing["part"][key]
        assert [event["annotation_index"] for event in notes] == list(range(len(notes)))
        assert [event["annotation"] for event in notes] == closing["part"].get("annotations", [])
        probabilities = [each for event in deltas for each in event.get("logprobs", [])]
        assert probabilities == closing["part"].get("logprobs", []) == grown.get("logprobs", [])
        assert closing["part"] in self.whole["summary" if kind == "summary_text" else "content"]
