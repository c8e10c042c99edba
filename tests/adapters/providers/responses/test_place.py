"""Where the rest of an answer is that the provider keeps."""

import pytest

from chatbackend.adapters.providers.answer_body import StreamedBody, WholeBody
from chatbackend.adapters.providers.codec import Place
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.providers.responses.reader import ResponsesReader
from chatbackend.adapters.providers.steps import SteppedReader
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.models import ModelProfile, ModelRequest

CODEC, KEPT = ResponsesCodec(ModelProfile()), ModelRequest("m", [], background=True)


@pytest.mark.parametrize("stepped", [False, True])
def test_a_kept_answer_says_where_its_rest_is_until_it_has_ended(stepped: bool) -> None:  # noqa: FBT001  # a parameter of the test
    reader = ResponsesReader(kept=True)
    asked = SteppedReader(reader, []) if stepped else reader
    assert asked.place is None
    told = (
        b'{"type":"response.created","sequence_number":0,"response":{"id":"resp/1"}}',
        b'{"type":"response.in_progress","sequence_number":1}',
        b'{"type":"response.output_text.delta","sequence_number":2,"item_id":"m","output_index":0,"delta":"a"}',
    )
    for event in told:
        asked.feed(SseEvent("message", event))
    assert asked.place == Place("/responses/resp%2F1", "stream=true&starting_after=2", "/responses/resp%2F1/cancel")
    assert asked.feed(SseEvent("message", told[-1])) == [], "it was read before"
    asked.feed(
        SseEvent("message", b'{"type":"response.completed","sequence_number":3,"response":{"status":"completed"}}')
    )
    assert asked.place is None


def test_a_kept_answer_without_numbers_or_a_name_is_read_as_any_other() -> None:
    reader = ResponsesReader(kept=True)
    reader.feed(SseEvent("message", b'{"type":"response.created","response":null}'))
    delta = b'{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"a"}'
    assert reader.feed(SseEvent("message", delta))
    assert reader.place is None


def test_a_whole_answer_is_kept_nowhere() -> None:
    body = WholeBody(CODEC, KEPT)
    body.rejoined()
    assert body.place is None


def test_what_an_error_ended_is_not_gone_on_with() -> None:
    body = StreamedBody(CODEC.reader(KEPT))
    body.feed(b'data: {"type":"response.created","sequence_number":0,"response":{"id":"r"}}\n\n')
    assert body.place is not None
    body.feed(b'data: {"type":"error","code":"server_error","message":"no"}\n\n')
    assert body.place is None
