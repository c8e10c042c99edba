"""The OpenAPI document: valid, whole, and true to what is really rendered."""

from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api import client_secrets, conversations, files, listing, openapi, responses, vector_stores
from chatbackend.adapters.api.openapi import Described
from chatbackend.adapters.api.operations import operations
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.errors import NotFound
from chatbackend.domain.identity import ClientSecret, Principal
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import Outcome, Response, end
from chatbackend.domain.uploads import File, Reason
from chatbackend.domain.usage import Usage
from chatbackend.domain.vector_stores import FileBatch, StoreFile, VectorStore

ROUTES = [Described(method, path, f"Do {path}.") for method, path in operations()]


def document(*more: Described) -> dict[str, Any]:
    return openapi.document([*ROUTES, *more], version="1.2.3")


def response() -> dict[str, Any]:
    wanted = responses.ask(responses.read({"model": "m", "input": "x"}), lambda prefix: f"{prefix}_1")
    made = Response("resp_1", Principal("t", "a", "a", "k"), "m", 1, conversation_id="conv_1")
    made.shown, made.usage = wanted.shown, Usage(1, 2, estimated=True)
    end(made, Outcome("incomplete", detail="interrupted"), at=2)
    return msgspec.to_builtins(responses.response_object(made))


def file() -> dict[str, Any]:
    made = File(
        "file_1", "t", "a", "a.pdf", "assistants", 1, "00", "application/pdf", "pdf",
        searchable=True, blob_key="k", created_at=1, reason=Reason("no_text", "It has no text."),
    )  # fmt: skip
    return files.file_object(made)


def rendered() -> dict[str, dict[str, Any]]:
    store = VectorStore(id="vs_1", tenant="t", owner="a", name="", created_at=1, last_active_at=1)
    passage = Passage("file_1", "a.pdf", 0, 4, "text", 0.5)
    return {
        "Response": response(),
        "Conversation": conversations.conversation_object(Conversation("conv_1", 1, {})),
        "ConversationDeleted": conversations.deleted_object("conv_1"),
        "File": file(),
        "FileDeleted": files.deleted_object("file_1"),
        "ClientSecret": client_secrets.client_secret_object(
            "ek_1", ClientSecret("t", "a", "a/b", "k", 1, ("m",)), session_id="sess_1"
        ),
        "VectorStore": vector_stores.store_object(store, now=1.0),
        "VectorStoreDeleted": vector_stores.store_deleted("vs_1"),
        "VectorStoreFile": vector_stores.store_file_object(
            StoreFile("file_1", "vs_1", 1, "failed", reason=Reason("no_text", "It has no text."))
        ),
        "VectorStoreFileDeleted": vector_stores.store_file_deleted("file_1"),
        "VectorStoreFileBatch": vector_stores.batch_object(FileBatch("vsfb_1", "vs_1", 1)),
        "FileText": vector_stores.content_page("text"),
        "SearchPage": vector_stores.search_page(["q"], [passage]),
        "ItemPage": listing.envelope([], more=False, ids=[]),
        "Error": wire_errors.envelope(NotFound("No.")),
    }


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_a_route_that_nothing_is_known_of_is_still_in_it() -> None:
    made = document(Described("PUT", "/v1/new/{name}", "Do something new.", public=True))
    OpenAPIV31SpecValidator(made).validate()
    found = made["paths"]["/v1/new/{name}"]["put"]
    assert (found["summary"], found["tags"], found["security"]) == ("Do something new.", ["Other"], [])
    assert found["parameters"] == [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]


def test_sockets_are_left_out() -> None:
    assert document(Described("WEBSOCKET", "/v1/socket", "Talk.")) == document()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in operations().values()]
    assert len(names) == len(set(names))


def test_every_route_but_the_public_ones_takes_a_user() -> None:
    user = {"$ref": "#/components/parameters/chatbackend-user"}
    described = document()["paths"]["/v1/responses"]["post"]
    assert user in described["parameters"]
    assert "security" not in described


def test_no_field_of_the_inside_is_shown() -> None:
    fields = openapi.schemas()["CreateRequest"]["properties"]
    assert "model" in fields
    assert not {"extra", "stream_id"} & set(fields)


def test_an_input_message_may_leave_out_its_type() -> None:
    found = openapi.schemas()
    assert found["Message"]["required"] == ["role", "content"]
    assert {"$ref": "#/components/schemas/Message"} in found["CreateRequest"]["properties"]["input"]["anyOf"][1][
        "items"
    ]["anyOf"]


@pytest.mark.parametrize("name", sorted(rendered()))
def test_what_is_rendered_is_what_its_schema_says(name: str) -> None:
    known, value = openapi.schemas(), rendered()[name]
    whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": known}}
    OAS31Validator(whole).validate(value)
    assert set(value) <= set(known[name]["properties"])
