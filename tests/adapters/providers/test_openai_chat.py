"""The Chat Completions codec: what goes over the wire."""

import json

import pytest

from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.errors import UpstreamOverloaded
from chatbackend.domain.models import ModelProfile, ModelRequest

PROFILE = ModelProfile()


def test_a_request_asks_for_events() -> None:
    wire = ChatCodec(PROFILE).request(ModelRequest("m", []))
    assert wire.path == "/chat/completions"
    assert wire.headers["accept"] == "text/event-stream"
    assert json.loads(wire.body)["model"] == "m"


def test_a_whole_answer_is_asked_for_as_json_and_no_codec_knows_a_key() -> None:
    wire = ChatCodec(PROFILE).request(ModelRequest("m", [], stream=False))
    assert "authorization" not in wire.headers
    assert wire.headers["accept"] == "application/json"


def test_a_failure_is_read_from_status_headers_and_body() -> None:
    codec = ChatCodec(PROFILE)
    error = codec.error(429, {"retry-after-ms": "250"}, b'{"error": {"message": "slow down"}}')
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == pytest.approx(0.25)
    assert codec.profile == ModelProfile(refuses=frozenset(("reasoning_summary",)))  # what the dialect has no words for
