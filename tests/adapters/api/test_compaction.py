"""The shapes of `POST /v1/responses/compact`."""

import json

import msgspec
import pytest
from openai.types.responses import CompactedResponse

from chatbackend.adapters.api import items
from chatbackend.adapters.api.compaction import answer, read
from chatbackend.domain.compaction import seal
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import Compaction, text_of
from chatbackend.domain.usage import Usage
from chatbackend.usecases.compact_conversation import Compacted


def new_id(prefix: str) -> str:
    return f"{prefix}_1"


def test_a_request_is_text_items_or_an_earlier_response() -> None:
    ask = read({"model": "m", "input": "hi", "instructions": "short", "prompt_cache_key": "k"}, new_id)
    assert (ask.model, text_of(ask.items[0]), ask.instructions) == ("m", "hi", "short")
    assert read({"model": "m", "previous_response_id": "resp_1"}, new_id).items == []


def test_an_answer_is_what_the_sdk_expects() -> None:
    item = Compaction("cmp_1", seal("tea"))
    told = answer(Compacted("resp_1", 7, item, Usage(3, 2), None))  # pyright: ignore[reportArgumentType]  # who wrote it is not shown
    read_back = CompactedResponse.model_validate(json.loads(msgspec.json.encode(told)))
    assert (read_back.object, read_back.usage.total_tokens) == ("response.compaction", 5)
    assert read_back.output[0].type == "compaction"


def test_an_item_survives_store_and_request() -> None:
    item = Compaction("cmp_1", seal("tea"))
    assert items.decode(items.encode(item)) == item
    assert items.from_input([{"type": "compaction", "encrypted_content": seal("tea")}], new_id) == [item]


def test_another_services_item_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="another service") as caught:
        items.from_input([{"type": "compaction", "encrypted_content": "gAAAA"}], new_id)
    assert caught.value.param == "input"
