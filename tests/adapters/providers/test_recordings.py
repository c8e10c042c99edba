"""Recorded answers of real providers, heard the same as the official SDKs and a plain walk of their JSON hear them."""

import json
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.codec import Codec
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.errors import UpstreamRefused
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from tests.adapters.providers.heard import Heard, hear, replay
from tests.adapters.providers.recordings import Recorded, recordings

CODECS: dict[str, Codec] = {"chat": ChatCodec(ModelProfile()), "messages": ClaudeCodec(ModelProfile())}
FINISH = {"end_turn": "stop", "tool_use": "tool_calls", "stop": "stop", "tool_calls": "tool_calls"}
Json = dict[str, Any]


ALL = recordings(tuple(CODECS))
WHOLE = [recorded for recorded in ALL if recorded.status == 200 and recorded.sse is None]
STREAMED = [recorded for recorded in ALL if recorded.sse is not None]
REFUSED = [recorded for recorded in ALL if recorded.status != 200]


def named(recorded: Recorded) -> str:
    return recorded.id


@pytest.mark.parametrize("recorded", WHOLE, ids=named)
def test_a_whole_answer_is_heard_whole(recorded: Recorded) -> None:
    heard = hear(CODECS[recorded.api].whole(json.dumps(recorded.json).encode(), ModelRequest("m", [])))
    (expect_message if recorded.api == "messages" else expect_completion)(heard, recorded.json)


@pytest.mark.parametrize("recorded", STREAMED, ids=named)
def test_a_streamed_answer_is_heard_whole(recorded: Recorded) -> None:
    events = [json.loads(line[5:]) for line in (recorded.sse or "").split("\n") if line.startswith("data: {")]
    if any("error" in event for event in events):
        expect_refused_in_stream(recorded, events)
    elif recorded.api == "messages":
        expect_message(hear(replay(CODECS["messages"], (recorded.sse or "").encode())), accumulated(recorded.sse or ""))
    else:
        expect_completion(hear(replay(CODECS["chat"], (recorded.sse or "").encode())), joined(events))


@pytest.mark.parametrize("recorded", STREAMED, ids=named)
@settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors])
@given(drawn=st.data())
def test_a_torn_stream_is_heard_alike(recorded: Recorded, drawn: st.DataObject) -> None:
    stream = (recorded.sse or "").encode()
    cuts = drawn.draw(st.lists(st.integers(0, len(stream)), max_size=60))
    assert outcome(recorded.api, stream, cuts) == outcome(recorded.api, stream, [])


@pytest.mark.parametrize("recorded", REFUSED, ids=named)
def test_a_refused_request_is_the_callers_to_mend(recorded: Recorded) -> None:
    error = CODECS[recorded.api].error(recorded.status, {}, json.dumps(recorded.json).encode())
    assert isinstance(error, UpstreamRefused)
    assert error.message == recorded.json["error"]["message"]
    assert error.code in {recorded.json["error"].get("code"), "model_not_found"}


def outcome(api: str, stream: bytes, cuts: list[int]) -> object:
    try:
        return replay(CODECS[api], stream, cuts)
    except UpstreamRefused as error:
        return error.message


def part(whole: Json, name: str) -> Json:
    return whole.get(name) or {}


def objects(whole: Json, name: str) -> list[Json]:
    return whole.get(name) or []


def expect_completion(heard: Heard, completion: Json) -> None:
    """Compare with a chat completion, read field by field."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion["usage"]
    assert heard.text == (message.get("content") or "")
    assert heard.thoughts == (message.get("reasoning_content") or message.get("reasoning") or "")
    assert list(heard.calls.values()) == [
        [call["id"], call["function"]["name"], call["function"]["arguments"]] for call in objects(message, "tool_calls")
    ]
    assert heard.finish == FINISH[choice["finish_reason"]]
    assert heard.usage is not None
    assert heard.usage.total_tokens == usage["prompt_tokens"] + usage["completion_tokens"]
    cached = (part(usage, "prompt_tokens_details").get("cached_tokens"), usage.get("num_cached_tokens"), 0)
    assert heard.usage.cached_tokens == next(count for count in cached if count is not None)
    assert heard.usage.reasoning_tokens == part(usage, "completion_tokens_details").get("reasoning_tokens", 0)
    expect_marks_cited(heard, completion.get("citations") or [])


def expect_marks_cited(heard: Heard, urls: list[str]) -> None:
    """Every `[n]` of an answer with sources is a citation of the nth, at its place."""
    for _, citation in heard.citations:
        assert isinstance(citation, UrlCitation)
        assert heard.text[citation.start_index : citation.end_index] == f"[{urls.index(citation.url) + 1}]"
    assert len(heard.citations) == sum(heard.text.count(f"[{number + 1}]") for number in range(len(urls)))


def joined(chunks: list[Json]) -> Json:
    """Return a completion made of a stream's chunks by plain concatenation."""
    message: Json = {"content": "", "reasoning": "", "tool_calls": []}
    whole: Json = {"choices": [{"message": message, "finish_reason": None}]}
    for chunk in chunks:
        whole |= {name: chunk[name] for name in ("usage", "citations") if chunk.get(name)}
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
            message["tool_calls"] += delta.get("tool_calls") or []  # these recordings send each call in one piece
            whole["choices"][0]["finish_reason"] = choice.get("finish_reason")
    return whole


def accumulated(stream: str) -> Json:
    """Return the message that the official SDK makes of a stream."""
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, text=stream))
    with (
        Anthropic(api_key="x", http_client=httpx2.Client(transport=transport)) as client,
        client.beta.messages.stream(model="x", max_tokens=1, messages=[{"role": "user", "content": "x"}]) as told,
    ):
        return told.get_final_message().to_dict()


def expect_message(heard: Heard, message: Json) -> None:
    """Compare with a whole message, block by block."""
    blocks, usage = message["content"], message["usage"]
    assert heard.text == "".join(block["text"] for block in blocks if block["type"] == "text")
    assert heard.thoughts == "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    seals = [block.get("signature") or block.get("data") for block in blocks if "thinking" in block["type"]]
    assert [seal.rpartition(".")[2] for seal in heard.seals] == seals
    called = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    assert [(call[0], call[1], json.loads(call[2])) for call in heard.calls.values()] == called
    assert heard.finish == FINISH[message["stop_reason"]]
    assert heard.usage is not None
    cached, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    assert heard.usage.input_tokens == usage["input_tokens"] + cached + written
    assert (heard.usage.cached_tokens, heard.usage.cache_write_tokens) == (cached, written)
    assert heard.usage.output_tokens == usage["output_tokens"]
    assert heard.usage.reasoning_tokens == part(usage, "output_tokens_details").get("thinking_tokens", 0)
    expect_blocks_cited(heard, blocks)


def expect_blocks_cited(heard: Heard, blocks: list[Json]) -> None:
    """Every citation of a web page stands for its block's text."""
    cited = [(citation["url"], block["text"]) for block in blocks for citation in objects(block, "citations")]
    heard_as: list[tuple[str, str]] = []
    for index, citation in heard.citations:
        assert isinstance(citation, UrlCitation)
        heard_as.append((citation.url, heard.texts[index][citation.start_index : citation.end_index]))
    assert heard_as == cited


def expect_refused_in_stream(recorded: Recorded, events: list[Json]) -> None:
    error = events[-1]["error"]
    with pytest.raises(UpstreamRefused) as caught:
        replay(CODECS[recorded.api], (recorded.sse or "").encode())
    assert caught.value.message == error["message"]
    assert caught.value.code == error["code"]
