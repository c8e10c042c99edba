"""JSON Schemas of the objects that we answer with; a test holds them against what is really rendered.

Requests are not here: theirs are made from the structs that read them.
"""

from typing import Any

Schema = dict[str, Any]
PREFIX = "#/components/schemas/"

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer"}
WHOLE_OR_NULL: Schema = {"type": ["integer", "null"]}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
SECONDS: Schema = {"type": "integer", "description": "Seconds since the epoch."}
METADATA: Schema = {"type": "object", "additionalProperties": TEXT}
ATTRIBUTES: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def ref(name: str) -> Schema:
    """Name another schema."""
    return {"$ref": PREFIX + name}


def said(schema: Schema, description: str) -> Schema:
    """Add what the type cannot say."""
    return {**schema, "description": description}


def list_of(schema: Schema) -> Schema:
    """Say: an array."""
    return {"type": "array", "items": schema}


def or_null(schema: Schema) -> Schema:
    """Say: this, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(*values: str | None) -> Schema:
    """Say: one of these values."""
    return {"enum": list(values)}


def kind(value: str) -> Schema:
    """Say: always this value."""
    return {"const": value}


def whole(about: str = "", optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """Say: an object that always has these properties, but for the optional ones."""
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    return said(schema, about) if about else schema


def page_of(name: str, object_: str = "list") -> Schema:
    """Say: a page of a list."""
    return whole(
        object=kind(object_), data=list_of(ref(name)), first_id=TEXT_OR_NULL, last_id=TEXT_OR_NULL, has_more=FLAG
    )


def deleted(object_: str) -> Schema:
    """Say: what a deletion is answered with."""
    return whole(id=TEXT, object=kind(object_), deleted={"const": True})


def answers() -> dict[str, Schema]:
    """Return the schema of every object that a route answers with, by name."""
    return {**_responses(), **_messages(), **_lists(), **_files(), **_stores(), **_search(), **_others()}


def _responses() -> dict[str, Schema]:
    items = ("Message", "FunctionCall", "Reasoning", "FileSearchCall")
    incomplete = whole(
        "",
        ("chatbackend_reason",),
        reason=one_of("max_output_tokens", "content_filter", None),
        chatbackend_reason=said(TEXT, "`interrupted`, `deadline_exceeded` or `cancelled`, where it was one of these."),
    )
    usage = whole(
        "",
        ("chatbackend_estimated",),
        input_tokens=WHOLE,
        input_tokens_details=whole(cached_tokens=WHOLE, cache_write_tokens=WHOLE),
        output_tokens=WHOLE,
        output_tokens_details=whole(reasoning_tokens=WHOLE),
        total_tokens=WHOLE,
        chatbackend_estimated=said(FLAG, "Present and true where the provider did not report: counted from the text."),
    )
    return {
        "Response": whole(
            "A response: one generation for one request.",
            id=TEXT,
            object=kind("response"),
            created_at=SECONDS,
            completed_at=or_null(SECONDS),
            status=one_of("queued", "in_progress", "completed", "failed", "incomplete", "cancelled"),
            error=or_null(whole(code=TEXT, message=TEXT)),
            incomplete_details=or_null(incomplete),
            instructions=TEXT_OR_NULL,
            model=said(TEXT, "The model's full name, `provider/name`."),
            output=list_of({"anyOf": [ref(name) for name in items]}),
            previous_response_id=TEXT_OR_NULL,
            conversation=or_null(whole(id=TEXT)),
            metadata=METADATA,
            usage=or_null(usage),
            **_settings(),
        )
    }


def _settings() -> dict[str, Schema]:
    """Return the request's settings as a response shows them."""
    return {
        "background": FLAG,
        "store": FLAG,
        "max_output_tokens": WHOLE_OR_NULL,
        "max_tool_calls": WHOLE_OR_NULL,
        "parallel_tool_calls": FLAG,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "top_logprobs": WHOLE,
        "presence_penalty": NUMBER,
        "frequency_penalty": NUMBER,
        "tool_choice": {"anyOf": [TEXT, {"type": "object"}]},
        "tools": list_of({"anyOf": [ref("Function"), ref("FileSearchTool")]}),
        "text": {"type": "object"},
        "reasoning": {"type": "object"},
        "truncation": one_of("auto", "disabled"),
        "user": TEXT_OR_NULL,
        "safety_identifier": TEXT_OR_NULL,
        "prompt_cache_key": TEXT_OR_NULL,
        "service_tier": TEXT,
    }


def _messages() -> dict[str, Schema]:
    usage = whole(
        "",
        ("output_tokens_details", "chatbackend_estimated"),
        input_tokens=said(WHOLE, "Without what a cache held or took."),
        cache_creation_input_tokens=WHOLE,
        cache_read_input_tokens=WHOLE,
        output_tokens=WHOLE,
        output_tokens_details=whole(thinking_tokens=WHOLE),
        chatbackend_estimated=said(FLAG, "The provider did not tell."),
    )
    return {
        "MessageTokens": whole(input_tokens=WHOLE),
        "InputTokens": whole(object=kind("response.input_tokens"), input_tokens=WHOLE),
        "AnthropicMessage": whole(
            "Anthropic's message. Its `model` is the deployment that answered.",
            id=TEXT,
            type=kind("message"),
            role=kind("assistant"),
            model=TEXT,
            content=list_of(whole(type=one_of("text", "thinking", "redacted_thinking", "tool_use"))),
            stop_reason=one_of("end_turn", "max_tokens", "tool_use", "refusal"),
            stop_sequence=TEXT_OR_NULL,
            stop_details=or_null(
                whole(type=kind("refusal"), category=TEXT_OR_NULL, explanation=TEXT_OR_NULL),
            ),
            usage=usage,
        ),
    }


def _lists() -> dict[str, Schema]:
    return {
        "ItemPage": page_of("Item"),
        "ConversationPage": page_of("Conversation"),
        "FilePage": page_of("File"),
        "VectorStorePage": page_of("VectorStore"),
        "VectorStoreFilePage": page_of("VectorStoreFile"),
        "ModelList": whole(object=kind("list"), data=list_of(ref("Model"))),
        "ResponseDeleted": deleted("response"),
        "ConversationDeleted": deleted("conversation.deleted"),
        "FileDeleted": deleted("file"),
        "VectorStoreDeleted": deleted("vector_store.deleted"),
        "VectorStoreFileDeleted": deleted("vector_store.file.deleted"),
    }


def _files() -> dict[str, Schema]:
    return {
        "File": whole(
            "An uploaded file. The `chatbackend_` fields are ours.",
            id=TEXT,
            object=kind("file"),
            bytes=WHOLE,
            created_at=SECONDS,
            expires_at=or_null(SECONDS),
            filename=TEXT,
            purpose=TEXT,
            status=one_of("uploaded", "processed", "error"),
            status_details=TEXT_OR_NULL,
            chatbackend_stage=said(TEXT, "Where its reading is."),
            chatbackend_percent=WHOLE,
            chatbackend_reason=or_null(whole(code=TEXT, message=TEXT)),
            chatbackend_sha256=TEXT,
            chatbackend_media_type=TEXT,
        ),
        "FileText": whole(
            "A file's text in one part: what the offsets of citations count in.",
            object=kind("vector_store.file_content.page"),
            data=list_of(whole(type=kind("text"), text=TEXT)),
            has_more=FLAG,
            next_page=TEXT_OR_NULL,
        ),
    }


def _stores() -> dict[str, Schema]:
    counts = whole(in_progress=WHOLE, completed=WHOLE, failed=WHOLE, cancelled=WHOLE, total=WHOLE)
    return {
        "VectorStore": whole(
            id=TEXT,
            object=kind("vector_store"),
            created_at=SECONDS,
            name=TEXT,
            description=TEXT_OR_NULL,
            usage_bytes=WHOLE,
            file_counts=counts,
            status=one_of("in_progress", "completed", "expired"),
            expires_after=or_null(whole(anchor=kind("last_active_at"), days=WHOLE)),
            expires_at=or_null(SECONDS),
            last_active_at=SECONDS,
            metadata=METADATA,
        ),
        "VectorStoreFile": whole(
            id=TEXT,
            object=kind("vector_store.file"),
            created_at=SECONDS,
            vector_store_id=TEXT,
            status=one_of("in_progress", "completed", "failed", "cancelled"),
            last_error=or_null(whole(code=TEXT, message=TEXT, chatbackend_code=said(TEXT, "The exact reason."))),
            usage_bytes=WHOLE,
            attributes=ATTRIBUTES,
            chunking_strategy={"anyOf": [ref("Static"), whole(type=kind("other"))]},
        ),
        "VectorStoreFileBatch": whole(
            id=TEXT,
            object=kind("vector_store.files_batch"),
            created_at=SECONDS,
            vector_store_id=TEXT,
            status=one_of("in_progress", "completed", "failed", "cancelled"),
            file_counts=counts,
        ),
    }


def _search() -> dict[str, Schema]:
    place: dict[str, Schema] = {"page": WHOLE_OR_NULL, "start": WHOLE, "end": WHOLE}
    hit = whole(
        file_id=TEXT,
        filename=TEXT,
        score=said(NUMBER, "0 to 1, comparable within this search only."),
        attributes=ATTRIBUTES,
        content=list_of(whole(type=kind("text"), text=TEXT, **place)),
    )
    return {
        "SearchPage": whole(
            object=kind("vector_store.search_results.page"),
            search_query=list_of(TEXT),
            data=list_of(hit),
            has_more=FLAG,
            next_page=TEXT_OR_NULL,
        ),
    }


def _others() -> dict[str, Schema]:
    error = whole(
        "",
        ("response_id",),
        message=TEXT,
        type=TEXT,
        param=TEXT_OR_NULL,
        code=TEXT_OR_NULL,
        response_id=said(TEXT, "Where a generation failed: the response, which stays readable."),
    )
    return {
        "Conversation": whole(
            id=TEXT, object=kind("conversation"), created_at=SECONDS, metadata=METADATA, chatbackend=_of_conversation()
        ),
        "ClientSecret": _client_secret(),
        "Model": whole(id=TEXT, object=kind("model"), created=SECONDS, owned_by=TEXT),
        "ChatCompletion": _chat_completion(),
        "CompactedResponse": said(
            {"type": "object"}, "One item that stands for the whole conversation, and its usage."
        ),
        "EmbeddingList": said({"type": "object"}, "Vectors in the order of the texts, as the Embeddings API has them."),
        "Health": whole(status=kind("ok")),
        "Error": whole("What every refusal and failure looks like.", error=error),
    }


def _client_secret() -> Schema:
    session = whole(
        "As it begins.",
        ("object",),
        id=TEXT,
        object=one_of("realtime.session", "realtime.transcription_session"),
        type=one_of("realtime", "transcription", "translation"),
    )
    models = said(or_null(list_of(TEXT)), "The names of models that it may ask by; null: any.")
    return whole(
        "A short-lived credential for a page in a browser; shown this once.",
        value=TEXT,
        expires_at=SECONDS,
        session=session,
        chatbackend=whole(user=said(TEXT_OR_NULL, "Whom it acts as; null: the account."), models=models),
    )


def _of_conversation() -> Schema:
    item = whole(item_id=TEXT, turn=WHOLE, response_id=TEXT_OR_NULL)
    state = whole(
        "With `include=chatbackend.state`: what the events change, as of event `last_event` (-1: none yet).",
        last_event=WHOLE,
        items=said(list_of(item), "The newest 1,000, oldest first."),
        has_more=said(FLAG, "There are older ones."),
        running=said(list_of(TEXT), "Responses that have not ended."),
    )
    return whole(
        "What the standard lacks.",
        ("state",),
        state=state,
        title=said(TEXT_OR_NULL, "As it was given, or else the beginning of the first user message."),
        archived=FLAG,
        updated_at=said(WHOLE, "Seconds since the epoch: the last change of any kind."),
        branched_from=said(TEXT_OR_NULL, "The conversation whose items it began with."),
    )


def _chat_completion() -> Schema:
    optional = ("usage", "service_tier", "system_fingerprint")
    message = whole(
        "",
        ("annotations", "reasoning_content", "reasoning_details", "tool_calls", "function_call"),
        role=kind("assistant"),
        content=TEXT_OR_NULL,
        refusal=TEXT_OR_NULL,
        annotations=list_of({"type": "object"}),
        reasoning_content=said(TEXT, "Reasoning, where the model shows it."),
        reasoning_details=said(list_of({"type": "object"}), "Sealed reasoning: send it back with the message."),
        tool_calls=list_of({"type": "object"}),
        function_call={"type": "object"},
    )
    reasons = one_of("stop", "length", "tool_calls", "function_call", "content_filter")
    logprobs = {"type": ["object", "null"]}
    return whole(
        "A chat completion; a relayed one is the provider's own, byte by byte.",
        optional,
        id=TEXT,
        object=kind("chat.completion"),
        created=SECONDS,
        model=said(TEXT, "The deployment that answered."),
        choices=list_of(
            whole("", ("logprobs",), index=WHOLE, message=message, logprobs=logprobs, finish_reason=reasons)
        ),
        usage={"type": "object"},
        service_tier=TEXT_OR_NULL,
        system_fingerprint=TEXT_OR_NULL,
    )
