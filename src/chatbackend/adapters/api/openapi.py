"""The OpenAPI document, made from the routes themselves: a route that exists is in it.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from chatbackend.adapters.api import items
from chatbackend.adapters.api.conversations import QUERY_MAX
from chatbackend.adapters.api.listing import MAX_LIMIT
from chatbackend.adapters.api.operations import FORM, JSON, Operation, operations
from chatbackend.adapters.api.schemas import PREFIX, TEXT, Schema, answers, list_of, one_of, ref, said, whole
from chatbackend.domain.uploads import PURPOSES

SOCKET = "WEBSOCKET"
_NAME = re.compile(r"{(\w+)}")
_INTERNAL = ("extra", "stream_id")  # of `CreateRequest`: no field of a request over HTTP
_ABOUT = (
    "OpenAI's Responses, Conversations, Files and Vector stores APIs over any model, with durable answers and exact "
    "citations. The official SDKs are clients, unchanged. What is ours is named `chatbackend...`. The WebSocket is "
    "described in /asyncapi.json."
)
_USER = "The user on whose behalf the key's account acts: rows are written and listed under this owner."
_KEY = "Within 24 hours the same key and body give the same object again; another body is refused with 422."


@dataclass(frozen=True, slots=True)
class Described:
    """A route: what it is reached by, and the text its handler carries. `public`: no credential is needed."""

    method: str
    path: str
    summary: str
    public: bool = False


def document(routes: Iterable[Described], *, version: str) -> dict[str, Any]:
    """Return the document of all HTTP routes; sockets are left out."""
    known = operations()
    listed = [route for route in routes if route.method != SOCKET]
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        operation = known.get((route.method, route.path)) or Operation(f"{route.method} {route.path}", "Other")
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, operation)
    tags = dict.fromkeys(each["tags"][0] for path in paths.values() for each in path.values())
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Chat Backend General",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {"xApiKey": []}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "parameters": _parameters(),
            "responses": {"Error": {"description": "An error.", "content": {JSON: {"schema": ref("Error")}}}},
            "securitySchemes": _credentials(),
        },
    }


def schemas() -> dict[str, Schema]:
    """Return every schema by name: requests from the structs that read them, answers from their own table."""
    bodies = [operation.body for operation in operations().values() if isinstance(operation.body, type)]
    (*_, item), components = msgspec.json.schema_components([*bodies, items.Item], ref_template=PREFIX + "{name}")
    create = components["CreateRequest"]["properties"]
    for name in _INTERNAL:
        del create[name]
    given = said({"anyOf": [ref("Item"), ref("Message")]}, "A message may leave out its `type`.")
    create["input"] = {"anyOf": [TEXT, list_of(given)]}
    components["Message"]["required"].remove("type")
    return {**components, "Item": {"anyOf": item["anyOf"]}, **answers()}


def _operation(route: Described, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": route.summary,
        "parameters": _parameters_of(route, operation),
        "responses": _answers_of(operation),
    }
    if operation.more:
        described["description"] = operation.more
    if operation.body is not None:
        name = operation.body if isinstance(operation.body, str) else operation.body.__name__
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(name)}}}
    if operation.form:
        described["requestBody"] = {"required": True, "content": {FORM: {"schema": _form()}}}
    if operation.takes:
        offered = {"schema": {"type": "object", "properties": {"sdp": TEXT, "session": TEXT}, "required": ["sdp"]}}
        content = {media: offered if media == FORM else {"schema": TEXT} for media in operation.takes}
        described["requestBody"] = {"required": True, "content": content}
    if route.public:
        described["security"] = []
    return described


def _parameters_of(route: Described, operation: Operation) -> list[dict[str, Any]]:
    in_path = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in _NAME.findall(route.path)]
    shared = [*operation.query]
    if operation.once:
        shared.append("Idempotency-Key")
    if not route.public:
        shared.append("chatbackend-user")
    return [*in_path, *({"$ref": f"#/components/parameters/{name}"} for name in shared)]


def _answers_of(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.answer is not None:
        content[JSON] = {"schema": ref(operation.answer)}
    for media, what in operation.media.items():
        content[media] = {"schema": said({} if media == JSON else TEXT, what)}
    found: dict[str, Any] = {str(operation.status): {"description": "It worked.", "content": content}}
    for status, why in operation.errors.items():
        found[str(status)] = {"description": why, "content": {JSON: {"schema": ref("Error")}}}
    return {**found, "default": {"$ref": "#/components/responses/Error"}}


def _form() -> Schema:
    """Say what an upload's form has."""
    return whole(
        "",
        ("expires_after[anchor]", "expires_after[seconds]"),
        file={"type": "string", "contentMediaType": "application/octet-stream"},
        purpose=one_of(*PURPOSES),
        **{"expires_after[anchor]": one_of("created_at"), "expires_after[seconds]": {"type": "integer"}},
    )


def _parameters() -> dict[str, Any]:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20}
    after = {"type": "integer", "minimum": -1}
    statuses = one_of("in_progress", "completed", "failed", "cancelled")
    return {
        "limit": _query("limit", "How many; files up to 10,000, which is their default.", limit),
        "order": _query("order", "By time of creation; conversations by their last activity.", one_of("asc", "desc")),
        "after": _query("after", "The id that the page begins behind.", TEXT),
        "before": _query("before", "The id that the page ends before.", TEXT),
        "include": _query("include", "Bulky fields to show; `include[]` is understood too.", list_of(TEXT)),
        "stream": _query("stream", "Server-sent events instead of the object.", {"type": "boolean"}),
        "starting_after": _query("starting_after", "Only events above this number, with `stream`.", after),
        "after-event": _query("after", "Only events above this number; -1: all there are.", after),
        "Last-Event-ID": {**_query("Last-Event-ID", "Instead of `after`: sent by browsers.", after), "in": "header"},
        "filter": _query("filter", "Only files of this status.", statuses),
        "q": _query("q", "Words to look for.", {**TEXT, "maxLength": QUERY_MAX}),
        "archived": _query("archived", "Archived ones, others (the default), or both.", one_of("true", "false", "any")),
        "erase": _query("erase", "Delete what is stored of its responses, too.", {"type": "boolean"}),
        "purpose": _query("purpose", "Only files of this purpose.", TEXT),
        "Idempotency-Key": {**_query("Idempotency-Key", _KEY, {**TEXT, "maxLength": 255}), "in": "header"},
        "chatbackend-user": {**_query("chatbackend-user", _USER, {**TEXT, "maxLength": 128}), "in": "header"},
    }


def _query(name: str, description: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _credentials() -> dict[str, Any]:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "As the OpenAI SDKs send it."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "api-key", "description": "As Azure's clients send it."},
        "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "As Anthropic's send it."},
    }
