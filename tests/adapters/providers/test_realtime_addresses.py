"""Where sessions with a model are, and in which dialect."""

import pytest

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.family import Address, Family, profile_of
from chatbackend.adapters.realtime.upstreams import RealtimeAddress


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (
            OPENAI,
            Address("https://api.openai.com/v1", "gpt-realtime"),
            "wss://api.openai.com/v1/realtime?model=gpt-realtime",
        ),
        (OPENAI, Address("http://127.0.0.1:1", "a/b &c"), "ws://127.0.0.1:1/v1/realtime?model=a%2Fb%20%26c"),
        (
            AZURE,
            Address("https://x.openai.azure.com/", "voice"),
            "wss://x.openai.azure.com/openai/v1/realtime?model=voice",
        ),
        (AZURE, Address("https://x/openai/v1", "voice"), "wss://x/openai/v1/realtime?model=voice"),
    ],
)
def test_ga_is_asked_by_the_model(family: Family, address: Address, expected: str) -> None:
    assert family.realtime is not None
    assert family.realtime(address, "realtime") == RealtimeAddress(expected, "ga")


def test_the_preview_of_azure_is_asked_by_its_version_and_speaks_beta() -> None:
    assert AZURE.realtime is not None
    found = AZURE.realtime(Address("https://x", "my voice", "2025-04-01-preview"), "realtime")
    url = "wss://x/openai/realtime?api-version=2025-04-01-preview&deployment=my%20voice"
    assert found == RealtimeAddress(url, "beta")


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (OPENAI, Address("https://api.openai.com/v1", "m"), "wss://api.openai.com/v1/realtime?intent=transcription"),
        (AZURE, Address("https://x", "scribe"), "wss://x/openai/v1/realtime?intent=transcription"),
        (AZURE, Address("https://x", "s", "1"), "wss://x/openai/realtime?api-version=1&intent=transcription"),
    ],
)
def test_a_session_for_transcription_is_asked_for_without_a_model(
    family: Family, address: Address, expected: str
) -> None:
    assert family.realtime is not None
    assert family.realtime(address, "transcription").url == expected


@pytest.mark.parametrize("version", ["", "2025-04-01-preview"])
def test_a_translation_is_asked_for_at_the_ga_api_whatever_the_version(version: str) -> None:
    assert AZURE.realtime is not None
    found = AZURE.realtime(Address("https://x", "interpreter", version), "translation")
    assert found == RealtimeAddress("wss://x/openai/v1/realtime/translations?model=interpreter", "ga")
    assert OPENAI.realtime is not None
    there = OPENAI.realtime(Address("https://x/v1", "m"), "translation")
    assert there == RealtimeAddress("wss://x/v1/realtime/translations?model=m", "ga")
    profile = profile_of(OPENAI, "gpt-realtime-translate")
    assert (profile.translates, profile.realtime, profile.transcribes) == (True, False, False)


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (OPENAI, Address("https://api.openai.com/v1", "m"), "https://api.openai.com/v1/realtime"),
        (AZURE, Address("https://x/openai", "voice", "2025-04-01-preview"), "https://x/openai/v1/realtime"),
    ],
)
def test_calls_are_below_the_sessions_of_the_ga_api(family: Family, address: Address, expected: str) -> None:
    assert family.calls is not None
    assert family.calls(address) == expected


@pytest.mark.parametrize("name", ["whisper-1", "gpt-4o-transcribe", "gpt-realtime-whisper", "gpt-live-transcribe"])
def test_a_model_that_writes_down_what_is_said_is_not_talked_to(name: str) -> None:
    profile = profile_of(OPENAI, name)
    assert (profile.transcribes, profile.realtime) == (True, False)


@pytest.mark.parametrize(
    ("name", "talks"), [("gpt-realtime-mini", True), ("gpt-4o-realtime-preview", True), ("gpt-5", False)]
)
def test_a_model_that_is_talked_to_is_known_by_its_name(name: str, talks: bool) -> None:  # noqa: FBT001 - a case
    assert [profile_of(family, name).realtime for family in (OPENAI, AZURE)] == [talks, talks]
