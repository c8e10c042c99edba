"""Stream an answer over the WebSocket with the official SDK, and come back to it after any cut: `stream.py QUESTION`.

OPENAI_BASE_URL (http://127.0.0.1:8000/v1) and OPENAI_API_KEY say whom to ask, MODEL what, `local` when it is not set.
"""

import os
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import openai
from openai.types import ReconnectingEvent, ReconnectingOverrides

UNFINISHED = ("error", "response.incomplete", "response.failed")


def stream(client: openai.OpenAI, model: str, question: str) -> Iterator[str]:
    """Yield the pieces of an answer's text, each once and in order. Raises: RuntimeError for one that is not whole."""
    # With a key the question can be sent again: it brings the same answer, from its first event.
    asked: Any = {"type": "response.create", "model": model, "input": question}
    asked["chatbackend"] = {"idempotency_key": str(uuid.uuid4())}
    response_id, last = "", -1

    def go_on(event: ReconnectingEvent) -> ReconnectingOverrides:
        if response_id:
            return {"extra_query": {"resume": [response_id], "starting_after": [last]}}
        if event.attempt == 1:
            connection.send(asked)  # waits for the connection
        return {}

    with client.responses.connect(on_reconnecting=go_on, max_retries=20) as connection:
        connection.send(asked)
        for event in connection:
            number: int = getattr(event, "sequence_number", last + 1)  # an error has none
            if number <= last:
                continue
            last = number
            if event.type == "response.created":
                response_id = event.response.id
            elif event.type == "response.output_text.delta":
                yield event.delta
            elif event.type == "response.completed":
                return
            elif event.type in UNFINISHED:
                raise RuntimeError(f"the answer ended with {event.type}")


if __name__ == "__main__":
    for piece in stream(openai.OpenAI(), os.environ.get("MODEL", "local"), " ".join(sys.argv[1:])):
        print(piece, end="", flush=True)
    print()
