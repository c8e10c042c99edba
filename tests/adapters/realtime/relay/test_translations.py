"""Live translations: one entry in the bill, the client's names shown, and an update that never says a type."""

import json
from typing import Any

from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.realtime import Ended, Terms
from chatbackend.domain.usage import Settlement, Usage
from tests.adapters.realtime.relay.test_core import of, shown, told

Event = dict[str, Any]
SAID = [
    f'{{"type":"session.{kind}.delta","delta":"x"}}'
    for kind in ("input_transcript", "output_transcript", "output_audio")
]


def opened(terms: Terms | None = None) -> tuple[Relay, list[Action]]:
    made = Relay(
        "azure/interpreter", "ga", new_id=lambda prefix: prefix, max_waiting_bytes=99, terms=terms, kind="translation"
    )
    provider = Provider("ga", {"azure/interpreter"}, (), {"azure/scribe": "scribe"}.get)
    return made, made.opened(provider, 0.0)


def test_a_translation_is_one_entry_of_a_token_for_each_delta_of_text() -> None:
    relay, actions = opened()
    for frame in (*SAID, SAID[1]):
        actions += relay.provider_said(frame)
    actions += relay.provider_said('{"type":"session.closed","event_id":"e"}')
    actions += relay.provider_left(Ended(1000))
    assert of(Began, actions) == [Began("translation")]
    settled = Settlement(Usage(1, 2, estimated=True), "completed")
    assert of(Billed, actions) == [Billed("translation", settled)]


def test_a_translation_that_is_cut_is_settled_as_such() -> None:
    relay, _ = opened()
    settled = Settlement(Usage(0, 0, estimated=True), "cancelled")
    assert of(Billed, relay.client_left(Ended(1000))) == [Billed("translation", settled)]


def test_the_session_is_shown_by_the_clients_names() -> None:
    relay, actions = opened(Terms(session={"audio": {"input": {"transcription": {"model": "azure/scribe"}}}}))
    (setup,) = told(actions)
    assert setup["session"] == {"audio": {"input": {"transcription": {"model": "scribe"}}}}
    session: Event = {**setup["session"], "type": "translation", "model": "vendor"}
    (event,) = shown(relay.provider_said(json.dumps({"type": "session.updated", "session": session})))
    assert event["session"]["model"] == "azure/interpreter"
    assert event["session"]["audio"]["input"]["transcription"]["model"] == "azure/scribe"


def test_nothing_is_written_down_unless_the_client_asks_for_it() -> None:
    relay, _ = opened()
    update = {"type": "session.update", "session": {"audio": {"output": {"language": "fr"}}}}
    assert told(relay.client_said(json.dumps(update))) == [update]
    refused = shown(relay.client_said('{"type":"transcription_session.update","session":{}}'))
    assert refused[0]["error"]["code"] == "unsupported_event"
