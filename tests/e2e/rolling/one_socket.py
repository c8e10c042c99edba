"""Asks one question after the other on one socket of the unmodified SDK, which reconnects as it is told."""

import sys
import uuid
from contextlib import suppress
from typing import Any

import openai
from openai.types import ReconnectingEvent, ReconnectingOverrides
from websockets.exceptions import ConnectionClosed

ENDS = ("response.completed", "response.incomplete", "response.failed")


def main(base_url: str, key: str, model: str, count: int) -> int:
    """Print every answer on a line; return 3 when one was not whole."""
    response_id, last, whole = "", -1, True
    asked: dict[str, Any] = {}

    def go_on(event: ReconnectingEvent) -> ReconnectingOverrides:
        if response_id:
            return {"extra_query": {"resume": [response_id], "starting_after": [last]}}
        if event.attempt == 1:
            connection.send(question)  # waits for the connection; its key makes it the same one
        return {}

    client = openai.OpenAI(base_url=base_url, api_key=key)
    with client.responses.connect(on_reconnecting=go_on, max_retries=20) as connection:
        for number in range(count):
            response_id, last, lane = "", -1, f"question-{number}"
            asked = {"type": "response.create", "model": model, "input": "say on", "stream_id": lane}
            question: Any = {**asked, "chatbackend": {"idempotency_key": str(uuid.uuid4())}}
            with suppress(ConnectionClosed):  # reading tells, reconnects, and asks again
                connection.send(question)
            for event in connection:
                assert event.type != "error", event
                told: int = getattr(event, "sequence_number", -1)
                if getattr(event, "stream_id", None) != lane or told <= last:
                    continue
                last = told
                if event.type == "response.created":
                    response_id = event.response.id
                elif event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
                elif event.type in ENDS:
                    print(flush=True)
                    whole = whole and event.type == "response.completed"
                    break
    return 0 if whole else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
