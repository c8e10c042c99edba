"""What a client secret is asked for with, and what it is handed out as."""

from typing import Any

import msgspec
import pytest
from openai.types.realtime import ClientSecretCreateResponse

from chatbackend.adapters.api.client_secrets import client_secret_object, read
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret


def test_what_is_left_out_has_its_default() -> None:
    for body in (b"{}", b'{"session": {"type": "realtime"}}', b'{"expires_after": {}}', b'{"chatbackend": {}}'):
        found = read(msgspec.json.decode(body))
        assert (found.seconds, found.user, found.models) == (600, None, None)


def test_a_secret_is_bound_by_what_the_body_says() -> None:
    found = read({"expires_after": {"seconds": 7200}, "chatbackend": {"user": "anna", "models": ["local", "a/b"]}})
    assert (found.seconds, found.user, found.models) == (7200, "anna", ("local", "a/b"))


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"session": {"type": "realtime", "model": "gpt-realtime"}}, "session.model", "unsupported_parameter"),
        ({"session": {"type": "realtime", "tools": []}}, "session.tools", "unsupported_parameter"),
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
