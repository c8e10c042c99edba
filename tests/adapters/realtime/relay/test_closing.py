"""How one side is told that the other has closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close

from chatbackend.adapters.realtime.relay.closing import cut, for_client, for_provider, redacted
from chatbackend.domain.realtime import Ended


@pytest.mark.parametrize(
    ("code", "told"),
    [(1000, 1000), (1001, 1001), (1005, 1000), (1006, 1011), (1012, 1012), (1015, 1011), (4999, 4999), (999, 1011)],
)
def test_a_client_is_told_its_providers_code(code: int, told: int) -> None:
    assert for_client(Ended(code, "why")).code == told


@pytest.mark.parametrize(("code", "told"), [(1000, 1000), (1005, 1000), (1006, 1001), (3000, 3000), (401, 1000)])
def test_a_provider_is_told_its_clients_code_and_none_of_its_words(code: int, told: int) -> None:
    assert for_provider(Ended(code, "mine")) == Ended(told)


@given(st.integers(0, 5000), st.text(max_size=200))
def test_whatever_a_side_says_can_be_sent_to_the_other(code: int, reason: str) -> None:
    for ended in (for_client(Ended(code, reason.encode(errors="ignore").decode())), for_provider(Ended(code, reason))):
        assert Close.parse(Close(ended.code, ended.reason).serialize()).code == ended.code


def test_a_reason_is_cut_in_whole_characters_and_names_no_key() -> None:
    assert cut("é" * 100) == "é" * 61
    told = for_client(Ended(1008, "sk-abcdefgh and my-own-secret"), ["my-own-secret"])
    assert told.reason == "[redacted] and [redacted]"
    assert redacted("Incorrect API key provided: sk-ab*****wxyz.") == "Incorrect API key provided: [redacted]"
