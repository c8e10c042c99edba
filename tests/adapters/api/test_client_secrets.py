"""What a client secret is asked for with, and what it is handed out as."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from openai.types.realtime import (
    ClientSecretCreateResponse,
    RealtimeTranscriptionSessionCreateResponse,
    RealtimeTranslationClientSecretCreateResponse,
)

from chatbackend.adapters.api.client_secrets import client_secret_object, read, read_for_translation
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret
from chatbackend.domain.realtime import Terms


def test_what_is_left_out_has_its_default() -> None:
    assert read({"session": {"type": "realtime"}})[1] == Terms(kind="realtime")
    for body in (b"{}", b'{"expires_after": {}}', b'{"chatbackend": {}}'):
        found, terms = read(msgspec.json.decode(body))
        assert (found.seconds, found.user, found.models, terms) == (600, None, None, Terms())


def test_a_secret_is_bound_by_what_the_body_says() -> None:
    found, _ = read({"expires_after": {"seconds": 7200}, "chatbackend": {"user": "anna", "models": ["local", "a/b"]}})
    assert (found.seconds, found.user, found.models) == (7200, "anna", ("local", "a/b"))


def test_a_session_is_begun_as_the_body_says_and_its_model_is_the_only_one() -> None:
    session = {"type": "realtime", "model": "azure/voice", "audio": {"output": {"voice": "cedar"}}, "x": 1}
    held: dict[str, object] = {"instructions": "Be kind.", "vector_store_ids": ["vs_1"], "client_tools": ["lamp"]}
    held |= {"show_sources": True, "max_tokens": 9, "conversation": "conv_1", "renew": True}
    found, terms = read({"session": session, "chatbackend": held})
    assert found.models == ("azure/voice",)
    begun = {"audio": {"output": {"voice": "cedar"}}, "x": 1}
    expected = Terms("azure/voice", begun, "Be kind.", ("vs_1",), ("lamp",), show_sources=True, conversation="conv_1")
    assert terms == replace(expected, kind="realtime", max_tokens=9, renew=True)


def test_a_session_is_shown_as_it_begins_but_never_what_it_is_held_to() -> None:
    terms = Terms("azure/voice", {"instructions": "Hi."}, "Secret words.", ("vs_secret",))
    secret = ClientSecret("t", "app", "app", "key_1", 1_800_000_000, None, terms)
    shown = client_secret_object("ek_1", secret, session_id="sess_1")
    assert (shown["session"]["model"], shown["session"]["instructions"]) == ("azure/voice", "Hi.")
    assert "ecret" not in str(shown)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"session": {"type": "realtime", "model": ""}}, "session", None),
        ({"session": {"type": "transcription", "model": "m"}}, "session.model", "unsupported_parameter"),
        (
            {"session": {"type": "transcription"}, "chatbackend": {"instructions": "x"}},
            "chatbackend.instructions",
            "unsupported_parameter",
        ),
        *(
            (
                {"session": {"type": "transcription"}, "chatbackend": {name: value}},
                f"chatbackend.{name}",
                "unsupported_parameter",
            )
            for name, value in (("conversation", "conv_1"), ("renew", True))
        ),
        ({"session": {"type": "transcription", "audio": {"input": {"transcription": {"model": 1}}}}}, "session", None),
        ({"session": {"type": "other"}}, "session", None),
        ({"session": {"type": "translation", "model": "m"}}, "session.type", "unsupported_value"),
        ({"session": "realtime"}, "session", None),
        ({"expires_after": {"seconds": 9}}, "expires_after", None),
        ({"expires_after": {"seconds": 7201}}, "expires_after", None),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after", None),
        ({"chatbackend": {"user": ""}}, "chatbackend", None),
        ({"chatbackend": {"models": []}}, "chatbackend", None),
        ({"chatbackend": {"max_tokens": 0}}, "chatbackend", None),
        ({"chatbackend": {"model": "local"}}, "chatbackend", None),
        ({"user": "anna"}, None, None),
    ],
)
def test_what_cannot_be_kept_is_refused(body: dict[str, Any], param: str | None, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    ("audio", "model"),
    [
        (
            {"input": {"transcription": {"model": "azure/scribe", "language": "de"}, "turn_detection": None}},
            "azure/scribe",
        ),
        ({"input": {"transcription": None}}, None),
        ({"input": None}, None),
        (None, None),
    ],
)
def test_a_secret_for_transcription_is_for_the_model_that_its_session_names(audio: object, model: str | None) -> None:
    found, terms = read({"session": {"type": "transcription", "audio": audio}})
    assert terms == Terms(model, {"audio": audio}, kind="transcription")
    assert found.models == (None if model is None else (model,))
    shown = client_secret_object("ek_1", ClientSecret("t", "a", "a", "k", 1, None, terms), session_id="sess_1")
    session = ClientSecretCreateResponse.model_validate(shown).session
    assert isinstance(session, RealtimeTranscriptionSessionCreateResponse)
    assert (session.object, "model" in shown["session"]) == ("realtime.transcription_session", False)


def test_a_secret_for_translations_is_for_both_of_its_models() -> None:
    audio = {"output": {"language": "es"}, "input": {"transcription": {"model": "azure/scribe"}}}
    found, terms = read_for_translation({"session": {"model": "interpreter", "audio": audio}})
    assert terms == Terms("interpreter", {"audio": audio}, kind="translation")
    assert found.models == ("interpreter", "azure/scribe")
    assert read_for_translation({"session": {"model": "m"}})[0].models == ("m",)
    shown = client_secret_object("ek_1", ClientSecret("t", "a", "a", "k", 9, None, terms), session_id="sess_1")
    session = RealtimeTranslationClientSecretCreateResponse.model_validate(shown, strict=True).session
    assert (session.model, session.audio.output and session.audio.output.language) == ("interpreter", "es")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "session.model"),
        ({"session": 1}, "session.model"),
        ({"session": {"audio": {}}}, "session.model"),
        ({"session": {"model": "m", "type": "realtime"}}, "session.type"),
        ({"session": {"model": "m"}, "chatbackend": {"client_tools": []}}, "chatbackend.client_tools"),
        ({"session": {"model": "m"}, "chatbackend": {"max_tokens": 9}}, "chatbackend.max_tokens"),
        ({"session": {"model": "m"}, "chatbackend": {"conversation": "conv_1"}}, "chatbackend.conversation"),
        ({"session": {"model": "m"}, "chatbackend": {"renew": True}}, "chatbackend.renew"),
    ],
)
def test_what_a_translation_cannot_have_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_for_translation(body)
    assert refused.value.param == param


@pytest.mark.parametrize(("owner", "user"), [("app", None), ("app/anna", "anna"), ("app/app/x", "app/x")])
def test_a_secret_is_handed_out_as_the_sdk_knows_it(owner: str, user: str | None) -> None:
    secret = ClientSecret("t", "app", owner, "key_1", 1_800_000_000, ("local",))
    shown = client_secret_object("ek_1", secret, session_id="sess_1")
    read_back = ClientSecretCreateResponse.model_validate(shown, strict=True)
    assert (read_back.value, read_back.expires_at, read_back.session.type) == ("ek_1", 1_800_000_000, "realtime")
    assert shown["chatbackend"] == {"user": user, "models": ["local"]}
