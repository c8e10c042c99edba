"""`/llms.txt`: what a program that reads about us needs to know, in one short text.

Source: https://llmstxt.org
"""

from collections.abc import Iterable

from chatbackend.adapters.api.openapi import Described

_HEAD = """\
# Chat Backend General

> The backend behind a chat app. It speaks OpenAI's Responses (JSON, server-sent events, WebSocket), Conversations,
> Files and Vector stores APIs over any model; answers are durable and cite the user's files exactly.

Use the official `openai` SDK with this server's `/v1` as base URL and an API key (`Authorization: Bearer`, `api-key` or
`x-api-key`). The header `chatbackend-user` names an end user: rows are then written and listed under that user.

- A response belongs to the server: reconnect with `GET /v1/responses/{response_id}?stream=true&starting_after=N`.
- Send `Idempotency-Key` with what creates something; a repeat gives the same object, of a chat the same bytes.
- To ask files: upload (`purpose: assistants`), attach to a vector store, wait for `completed`, then create a response
  with `tools: [{"type": "file_search", "vector_store_ids": [...]}]`. A `file_citation` carries `page`, `start`,
  `end` and `quote`.
- Errors are `{"error": {"message", "type", "param", "code"}}`.

## Machine-readable

- [OpenAPI](/openapi.json): every HTTP route
- [AsyncAPI](/asyncapi.json): the WebSockets at /v1/responses and /v1/realtime
- [Reference](/docs): the same for people

## Routes

"""


def text(routes: Iterable[Described]) -> str:
    """Return the text for these routes."""
    lines = [f"- `{_verb(route.method)} {route.path}`: {route.summary}\n" for route in routes]
    return _HEAD + "".join(lines)


def _verb(method: str) -> str:
    return "WS" if method == "WEBSOCKET" else method
