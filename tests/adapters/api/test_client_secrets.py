"""What a client secret is asked for with, and what it is handed out as."""

from typing import Any

import msgspec
import pytest
from openai.types.realtime import ClientSecretCreateResponse

from chatbackend.adapters.api.client_secrets import client_secret_object, read
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret
from chatbackend.domain.realtime import Terms


def test_what_is_left_out_has_its_default() -> None:
    for body in (b"{}", b'{"session": {"type": "realtime"}}', b'{"expires_after": {}}', b'{"chatbackend": {}}'):
        found, terms = read(msgspec.json.decode(body))
        assert (found.seconds, found.user, found.models, terms) == (600, None, None, Terms())


def test_a_secret_is_bound_by_what_the_body_says() -> None:
    found, _ = read({"expires_after": {"seconds": 7200}, "chatbackend": {"user": "anna", "models": ["local", "a/b"]}})
    assert (found.seconds, found.user, found.models) == (7200, "anna", ("local", "a/b"))


def test_a_session_is_begun_as_the_body_says_and_its_model_is_the_only_one() -> None:
    session = {"type": "realtime", "model": "azure/voice", "audio": {"output": {"voice": "cedar"}}, "x": 1}
    held = {"instructions": "Be kind.", "vector_store_ids": ["vs_1"], "client_tools": ["lamp"], "show_sources": True}
    held |= {"conversation": "conv_1", "renew": True}
    found, terms = read({"session": session, "chatbackend": held})
    assert found.models == ("azure/voice",)
    begun = {"audio": {"output": {"voice": "cedar"}}, "x": 1}
    kept = Terms(
        "azure/voice", begun, "Be kind.", ("vs_1",), ("lamp",), show_sources=True, conversation="conv_1", renew=True
    )
    assert terms == kept


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
        ({"session": {"type": "transcription"}}, "session.type", "unsupported_parameter"),
        ({"session": {"type": "other"}}, "session", None),
        ({"session": "realtime"}, "session", None),
        ({"expires_after": {"seconds": 9}}, "expires_after", None),
        ({"expires_after": {"seconds": 7201}}, "expires_after", None),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after", None),
        ({"chatbackend": {"user": ""}}, "chatbackend", None),
        ({"chatbackend": {"models": []}}, "chatbackend", None),
        ({"chatbackend": {"model": "local"}}, "chatbackend", None),
        ({"user": "anna"}, None, None),
    ],
)
def test_what_cannot_be_kept_is_refused(body: dict[str, Any], param: str | None, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(("owner", "user"), [("app", None), ("app/anna", "anna"), ("app/app/x", "app/x")])
def test_a_secret_is_handed_out_as_the_sdk_knows_it(owner: str, user: str | None) -> None:
    secret = ClientSecret("t", "app", owner, "key_1", 1_800_000_000, ("local",))
    shown = client_secret_object("ek_1", secret, session_id="sess_1")
    read_back = ClientSecretCreateResponse.model_validate(shown, strict=True)
    assert (read_back.value, read_back.expires_at, read_back.session.type) == ("ek_1", 1_800_000_000, "realtime")
    assert shown["chatbackend"] == {"user": user, "models": ["local"]}
