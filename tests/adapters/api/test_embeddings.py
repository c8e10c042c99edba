"""The Embeddings API's shapes: requests read, answers written, usage read along."""

import json
from array import array

import pytest
from openai.types import CreateEmbeddingResponse

from chatbackend.adapters.api.embeddings import EmbeddingAccount, EmbeddingRequest, answer, asked, read
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.domain.usage import Usage

VECTOR = array("f", [0.5, -0.25]).tobytes()


def test_an_answer_is_what_the_sdk_expects() -> None:
    told = json.loads(answer(EmbeddingRequest(["four letters", "b"], "local"), [VECTOR, VECTOR]))
    assert CreateEmbeddingResponse.model_validate(told).data[1].embedding == [0.5, -0.25]
    assert told["data"][1]["index"] == 1
    assert told["usage"] == {"prompt_tokens": 4, "total_tokens": 4, "chatbackend_estimated": True}
    packed = json.loads(answer(EmbeddingRequest("a", encoding_format="base64"), [VECTOR]))
    assert packed["data"][0]["embedding"] == "AAAAPwAAgL4="


def test_a_request_is_one_text_or_several() -> None:
    assert read(b'{"model": "m", "input": "a", "dimensions": 2}', dimension=2).texts == ["a"]
    assert read(b'{"model": "m", "input": ["a", "b"]}', dimension=2).texts == ["a", "b"]
    assert asked(b'{"model": "m", "input": [[1, 2]], "new": true}').model == "m"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"input": ["a", ""]}', "input"),
        (b'{"input": 7}', "input"),
        (b'{"input": "a", "dimensions": 3}', "dimensions"),
        (b"{}", "input"),
        (b"[]", None),
        (b"{", None),
        (b"[" * 100_000, None),
    ],
)
def test_a_bad_request_is_refused_with_its_field(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body, dimension=2)
    assert caught.value.param == param


def test_the_providers_count_is_the_bill_else_an_estimate() -> None:
    account = EmbeddingAccount(400)
    assert (account.outcome, account.usage(), account.reads("application/json")) == (
        None,
        Usage(100, estimated=True),
        True,
    )
    body = b'{"data": [], "usage": {"prompt_tokens": 7, "total_tokens": 7}}'
    assert account.feed(body) == body
    assert (account.outcome, account.usage()) == ("completed", Usage(7))


@pytest.mark.parametrize("body", [b'{"data": []}', b'{"data": [], "usage": null}'])
def test_an_answer_without_a_count_is_estimated(body: bytes) -> None:
    account = EmbeddingAccount(400)
    account.feed(body)
    assert account.usage() == Usage(100, estimated=True)


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"error": {}}', b'{"data": [], "usage": {"prompt_tokens": "many"}}'])
def test_what_are_no_embeddings_is_a_failure_that_costs_nothing(body: bytes) -> None:
    account = EmbeddingAccount(400)
    account.feed(body)
    assert isinstance(account.error, UpstreamError)
    assert (account.outcome, account.usage()) == ("failed", Usage(estimated=True))
