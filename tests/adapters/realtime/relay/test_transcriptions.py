"""Sessions for transcription: whose name for the model is told to whom, in both dialects."""

import json
from typing import Any

import pytest

from chatbackend.adapters.realtime.relay.actions import Action, Close
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.realtime import Dialect, Ended, Terms
from tests.adapters.realtime.relay.test_core import of, shown, told

Event = dict[str, Any]
FOUND = {"azure/scribe": "scribe", "azure/other": "other"}


def session(
    client: Dialect = "ga",
    provider: Dialect = "ga",
    *,
    allowed: tuple[str, ...] | None = None,
    begun: Event | None = None,
) -> tuple[Relay, list[Action]]:
    """Return a session that is open, and what came of that."""
    made = Relay(
        "azure/scribe",
        client,
        new_id=lambda prefix: prefix,
        max_waiting_bytes=1000,
        terms=Terms(session=begun or {}),
        kind="transcription",
        allowed=allowed,
    )
    return made, made.opened(Provider(provider, {"azure/scribe"}, (), FOUND.get), 0.0)


def update(**heard: object) -> str:
    return json.dumps({"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}})


def heard(event: Event) -> object:
    return event["session"]["audio"]["input"].get("transcription")


def test_the_provider_is_told_its_own_name_and_the_client_sees_its_own() -> None:
    relay, _ = session()
    (sent,) = told(relay.client_said(update(transcription={"model": "azure/other", "language": "de"})))
    assert heard(sent) == {"model": "other", "language": "de"}
    back = json.dumps({"type": "session.updated", "session": sent["session"]})
    (event,) = shown(relay.provider_said(back))
    assert heard(event) == {"model": "azure/other", "language": "de"}
    assert "model" not in event["session"]


def test_the_model_of_the_address_is_told_once_and_again_only_where_it_was_refused() -> None:
    relay, _ = session()
    assert [heard(event) for event in told(relay.client_said(update()))] == [{"model": "scribe"}]
    assert [heard(event) for event in told(relay.client_said(update()))] == [None]
    relay.provider_said('{"type":"error","error":{"message":"no"}}')
    assert [heard(event) for event in told(relay.client_said(update()))] == [{"model": "scribe"}]
    relay.provider_said(
        json.dumps({"type": "session.updated", **json.loads(update(transcription={"model": "scribe"}))})
    )
    relay.provider_said('{"type":"session.updated","session":{"audio":{"input":{"transcription":{"model":"scribe"}}}}}')
    relay.provider_said('{"type":"error","error":{"message":"no"}}')
    assert [heard(event) for event in told(relay.client_said(update()))] == [None]


@pytest.mark.parametrize("odd", [None, 7, {"model": 7}])
def test_what_names_nobody_is_left_to_the_provider(odd: object) -> None:
    relay, _ = session()
    assert [heard(event) for event in told(relay.client_said(update(transcription=odd)))] == [odd]


@pytest.mark.parametrize(("name", "allowed"), [("azure/none", None), ("azure/other", ("azure/scribe",))])
def test_who_is_unknown_or_not_allowed_writes_nothing_down(name: str, allowed: tuple[str, ...] | None) -> None:
    relay, _ = session(allowed=allowed)
    actions = relay.client_said(update(transcription={"model": name}))
    assert (told(actions), shown(actions)[0]["error"]["code"]) == ([], "model_not_allowed")


def test_a_session_begins_as_its_secret_says() -> None:
    begun = {"audio": {"input": {"transcription": {"model": "azure/scribe"}, "turn_detection": None}}}
    relay, actions = session(begun=begun)
    (sent,) = told(actions)
    assert sent["session"] == {
        "type": "transcription",
        "audio": {"input": {"transcription": {"model": "scribe"}, "turn_detection": None}},
    }
    assert list(relay.provider_said('{"type":"session.created","session":{"type":"transcription"}}')) == []
    (created,) = shown(relay.provider_said(json.dumps({"type": "session.updated", "session": sent["session"]})))
    assert (created["type"], heard(created)) == ("session.created", {"model": "azure/scribe"})


def test_a_session_whose_secret_names_a_model_that_is_gone_ends_with_a_word() -> None:
    begun = {"audio": {"input": {"transcription": {"model": "azure/gone"}}}}
    relay = Relay(
        "azure/gone",
        "ga",
        new_id=lambda prefix: prefix,
        max_waiting_bytes=1000,
        terms=Terms(session=begun),
        kind="transcription",
    )
    relay.client_said('{"type":"input_audio_buffer.append","audio":"AAAA"}')
    actions = relay.opened(Provider("ga", (), (), FOUND.get), 0.0)
    assert (told(actions), shown(actions)[0]["error"]["code"]) == ([], "model_not_allowed")
    (closed,) = of(Close, actions)
    assert isinstance(closed, Close)
    assert closed.client.code == 1008


FLAT = json.dumps(
    {
        "type": "transcription_session.update",
        "session": {
            "modalities": ["text"],
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"prompt": "x"},
        },
    }
)


def test_a_beta_client_configures_a_ga_provider() -> None:
    relay, _ = session("beta", "ga")
    (sent,) = told(relay.client_said(FLAT))
    assert sent["type"] == "session.update"
    assert sent["session"]["type"] == "transcription"
    assert "output_modalities" not in sent["session"]
    assert heard(sent) == {"prompt": "x", "model": "scribe"}
    for kind in ("created", "updated"):
        (event,) = shown(relay.provider_said(json.dumps({"type": f"session.{kind}", "session": sent["session"]})))
        assert event["type"] == f"transcription_session.{kind}"
        assert event["session"]["input_audio_transcription"] == {"prompt": "x", "model": "azure/scribe"}
        assert "temperature" not in event["session"]


def test_a_ga_client_configures_a_beta_provider() -> None:
    relay, _ = session("ga", "beta")
    (sent,) = told(relay.client_said(update(transcription={"model": "azure/scribe"})))
    assert sent == {
        "type": "transcription_session.update",
        "session": {"input_audio_transcription": {"model": "scribe"}},
    }
    back = json.dumps({"type": "transcription_session.updated", "session": sent["session"]})
    (event,) = shown(relay.provider_said(back))
    assert (event["type"], event["session"]["type"]) == ("session.updated", "transcription")
    assert heard(event) == {"model": "azure/scribe"}


def test_a_session_that_is_not_for_transcription_refuses_its_update_by_name() -> None:
    relay = Relay("azure/voice", "ga", new_id=lambda prefix: prefix, max_waiting_bytes=1000)
    relay.opened(Provider("ga", ()), 0.0)
    assert shown(relay.client_said(FLAT))[0]["error"]["code"] == "unsupported_event"
    assert relay.client_left(Ended(1000))
