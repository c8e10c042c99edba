"""What the API's description says of each route beyond its method, path and docstring."""

from dataclasses import dataclass, field

from msgspec import Struct

from chatbackend.adapters.api import conversations, responses, vector_stores
from chatbackend.adapters.api.chat.request import ChatRequest
from chatbackend.adapters.api.client_secrets import ClientSecretRequest
from chatbackend.adapters.api.compaction import CompactRequest
from chatbackend.adapters.api.embeddings import EmbeddingRequest
from chatbackend.adapters.api.messages import shapes as messages

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"
_PAGE = ("limit", "order", "after", "before")


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: its name for code generators, its tag, what it takes and what it answers with.

    `body` is the struct that reads the JSON body, or the name of a schema; `takes` are media types of any other.
    `answer` names a schema; `media` maps further media types of the answer to what they carry, `status` is that of
    success. `once`: an Idempotency-Key counts here.
    """

    name: str
    tag: str
    answer: str | None = None
    body: type[Struct] | str | None = None
    query: tuple[str, ...] = ()
    once: bool = False
    form: bool = False
    takes: tuple[str, ...] = ()
    status: int = 200
    media: dict[str, str] = field(default_factory=dict[str, str])
    errors: dict[int, str] = field(default_factory=dict[int, str])
    more: str = ""


_EVENTS_OF_A_RESPONSE = {EVENTS: "The response's events, see /asyncapi.json; a comment every 10 s of silence."}
_CURSOR = {409: "`cursor_ahead`: above the last event.", 410: "`cursor_expired`: the events are no longer kept."}
_BUSY = {503: "`overloaded`, `stopping` or `storage_unavailable`; nothing was acknowledged, see retry-after."}
_ONCE = {409: "`idempotent_result_gone`.", 422: "`idempotency_key_reused`: the same key with another body."}
_RESPONSES, _CONVERSATIONS, _FILES, _STORES, _STORE_FILES, _MODELS, _SERVER = (
    "Responses",
    "Conversations",
    "Files",
    "Vector stores",
    "Files in vector stores",
    "Models",
    "Server",
)
_FAILED = "The provider failed."
_CREATE = (
    "Unknown fields are passed on to providers that speak Chat Completions. A generation that fails answers with its "
    "error, `x-should-retry: false` and `error.response_id`; with `stream` or `background` it is a failed response."
)
_SHARED = "With the header `anthropic-version` in Anthropic's shape, in pages (`limit`, `after_id`, `before_id`)."
_CHAT = (
    "Requests to providers that speak Chat Completions are relayed byte by byte, and so are their answers; for any "
    "other they are translated. What only this dialect can say (penalties, `logit_bias`, audio, fields that are not "
    "listed) is refused there, and what a server may ignore (`metadata`, `store`, `service_tier`...) is dropped."
)
_COUNTED = "Exact where the provider tells; an estimate has the header `x-chatbackend-estimated: true`."
_MESSAGES = (
    "Anthropic's Messages API over any provider. Errors have Anthropic's envelope. What only Claude understands (its "
    "own tools, `top_k`, fields that are not listed) is refused where the model is another."
)
_FOR_A_BROWSER = (
    "For `WS /v1/responses` and the reads beside it (docs/browsers.md), as the user that `chatbackend.user` names. It "
    "ends at `expires_at`, or with the key that made it; its open sockets are closed with 4401 then."
)
_SOUGHT = (
    "The last active comes first. With `q`, those that hold every word of it in their title or messages, each word "
    "by its beginning; case and accents make no difference."
)
_RESPONSE, _CONVERSATION, _FILE, _STORE = (
    "/v1/responses/{response_id}",
    "/v1/conversations/{conversation_id}",
    "/v1/files/{file_id}",
    "/v1/vector_stores/{vector_store_id}",
)
_STORE_FILE, _BATCH = f"{_STORE}/files/{{file_id}}", f"{_STORE}/file_batches/{{batch_id}}"


def operations() -> dict[tuple[str, str], Operation]:
    """Return what is known of each route, by method and path."""
    return {
        **_of_responses(),
        **_of_messages(),
        **_of_conversations(),
        **_of_files(),
        **_of_stores(),
        **_of_store_files(),
        **_realtime(),
        **_others(),
    }


def _of_responses() -> dict[tuple[str, str], Operation]:
    return {
        ("POST", "/v1/responses"): Operation(
            "createResponse",
            _RESPONSES,
            "Response",
            responses.CreateRequest,
            once=True,
            media=_EVENTS_OF_A_RESPONSE,
            errors={**_ONCE, 429: "The provider asks for patience.", 502: _FAILED, **_BUSY},
            more=_CREATE,
        ),
        ("POST", "/v1/responses/compact"): Operation(
            "compactResponse",
            _RESPONSES,
            "CompactedResponse",
            CompactRequest,
            once=True,
            errors={**_ONCE, 502: _FAILED},
        ),
        ("POST", "/v1/responses/input_tokens"): Operation(
            "countInputTokens", _RESPONSES, "InputTokens", responses.CreateRequest, more=_COUNTED
        ),
        ("GET", _RESPONSE): Operation(
            "getResponse",
            _RESPONSES,
            "Response",
            query=("stream", "starting_after"),
            media=_EVENTS_OF_A_RESPONSE,
            errors=_CURSOR,
        ),
        ("DELETE", _RESPONSE): Operation("deleteResponse", _RESPONSES, "ResponseDeleted"),
        ("POST", f"{_RESPONSE}/cancel"): Operation("cancelResponse", _RESPONSES, "Response"),
        ("GET", f"{_RESPONSE}/input_items"): Operation("listInputItems", _RESPONSES, "ItemPage", query=_PAGE),
    }


def _of_messages() -> dict[tuple[str, str], Operation]:
    events = {EVENTS: "The message's events, from `message_start` to `message_stop`; a `ping` every 10 s of silence."}
    return {
        ("POST", "/v1/messages"): Operation(
            "createMessage",
            "Messages",
            "AnthropicMessage",
            messages.MessagesRequest,
            once=True,
            media=events,
            errors={**_ONCE, 429: "The provider limits us.", 502: _FAILED, 529: "The provider is overloaded."},
            more=_MESSAGES,
        ),
        ("POST", "/v1/messages/count_tokens"): Operation(
            "countMessageTokens", "Messages", "MessageTokens", messages.CountTokensRequest, more=_COUNTED
        ),
    }


def _of_conversations() -> dict[tuple[str, str], Operation]:
    return {
        ("POST", "/v1/conversations"): Operation(
            "createConversation",
            _CONVERSATIONS,
            "Conversation",
            conversations.CreateConversation,
            once=True,
            errors=_ONCE,
        ),
        ("GET", "/v1/conversations"): Operation(
            "listConversations", _CONVERSATIONS, "ConversationPage", query=(*_PAGE, "q", "archived"), more=_SOUGHT
        ),
        ("GET", _CONVERSATION): Operation("getConversation", _CONVERSATIONS, "Conversation", query=("include",)),
        ("GET", f"{_CONVERSATION}/events"): Operation(
            "followConversation",
            _CONVERSATIONS,
            query=("after-event", "Last-Event-ID"),
            media={
                EVENTS: "`chatbackend.conversation...` events, see /asyncapi.json; a comment every 10 s of silence."
            },
            errors=_CURSOR,
        ),
        ("GET", f"{_CONVERSATION}/export"): Operation(
            "exportConversation",
            _CONVERSATIONS,
            media={"application/jsonl": "A line for the conversation, one for each item, one for each response."},
        ),
        ("POST", _CONVERSATION): Operation(
            "updateConversation", _CONVERSATIONS, "Conversation", conversations.UpdateConversation
        ),
        ("DELETE", _CONVERSATION): Operation(
            "deleteConversation", _CONVERSATIONS, "ConversationDeleted", query=("erase",)
        ),
        ("POST", f"{_CONVERSATION}/branch"): Operation(
            "branchConversation",
            _CONVERSATIONS,
            "Conversation",
            conversations.BranchConversation,
            once=True,
            errors=_ONCE,
        ),
        **_of_items(),
    }


def _of_items() -> dict[tuple[str, str], Operation]:
    items = f"{_CONVERSATION}/items"
    return {
        ("POST", items): Operation(
            "addItems",
            _CONVERSATIONS,
            "ItemPage",
            conversations.AddItems,
            query=("include",),
            once=True,
            errors=_ONCE,
        ),
        ("GET", items): Operation("listItems", _CONVERSATIONS, "ItemPage", query=(*_PAGE, "include")),
        ("GET", f"{items}/{{item_id}}"): Operation("getItem", _CONVERSATIONS, "Item", query=("include",)),
        ("DELETE", f"{items}/{{item_id}}"): Operation("deleteItem", _CONVERSATIONS, "Conversation"),
    }


def _of_files() -> dict[tuple[str, str], Operation]:
    refused = {413: "Larger than CHATBACKEND_MAX_FILE_BYTES.", 422: "Refused by its type; see docs/files.md."}
    progress = {EVENTS: "`chatbackend.file` events: the file object whenever it has changed, until it is ready."}
    return {
        ("POST", "/v1/files"): Operation("uploadFile", _FILES, "File", once=True, form=True, errors=refused),
        ("GET", "/v1/files"): Operation("listFiles", _FILES, "FilePage", query=(*_PAGE, "purpose")),
        ("GET", _FILE): Operation("getFile", _FILES, "File"),
        ("DELETE", _FILE): Operation("deleteFile", _FILES, "FileDeleted"),
        ("GET", f"{_FILE}/content"): Operation(
            "downloadFile", _FILES, media={"application/octet-stream": "The bytes, as an attachment."}
        ),
        ("GET", f"{_FILE}/events"): Operation("followFile", _FILES, media=progress),
    }


def _of_stores() -> dict[tuple[str, str], Operation]:
    return {
        ("POST", "/v1/vector_stores"): Operation(
            "createVectorStore", _STORES, "VectorStore", vector_stores.CreateStore, once=True, errors=_ONCE
        ),
        ("GET", "/v1/vector_stores"): Operation("listVectorStores", _STORES, "VectorStorePage", query=_PAGE),
        ("GET", _STORE): Operation("getVectorStore", _STORES, "VectorStore"),
        ("POST", _STORE): Operation("updateVectorStore", _STORES, "VectorStore", vector_stores.UpdateStore),
        ("DELETE", _STORE): Operation("deleteVectorStore", _STORES, "VectorStoreDeleted"),
        ("POST", f"{_STORE}/search"): Operation("searchVectorStore", _STORES, "SearchPage", vector_stores.Search),
    }


def _of_store_files() -> dict[tuple[str, str], Operation]:
    files, batches = f"{_STORE}/files", f"{_STORE}/file_batches"
    no_text = {409: "`file_has_no_text`: an image, a failed file, or one that is still being read."}
    return {
        ("POST", files): Operation(
            "attachFile", _STORE_FILES, "VectorStoreFile", vector_stores.AttachFile, once=True, errors=_ONCE
        ),
        ("GET", files): Operation("listStoreFiles", _STORE_FILES, "VectorStoreFilePage", query=(*_PAGE, "filter")),
        ("GET", _STORE_FILE): Operation("getStoreFile", _STORE_FILES, "VectorStoreFile"),
        ("POST", _STORE_FILE): Operation("updateStoreFile", _STORE_FILES, "VectorStoreFile", vector_stores.UpdateFile),
        ("DELETE", _STORE_FILE): Operation("detachFile", _STORE_FILES, "VectorStoreFileDeleted"),
        ("GET", f"{_STORE_FILE}/content"): Operation("getFileText", _STORE_FILES, "FileText", errors=no_text),
        ("POST", batches): Operation(
            "createBatch", _STORE_FILES, "VectorStoreFileBatch", vector_stores.CreateBatch, once=True, errors=_ONCE
        ),
        ("GET", _BATCH): Operation("getBatch", _STORE_FILES, "VectorStoreFileBatch"),
        ("POST", f"{_BATCH}/cancel"): Operation("cancelBatch", _STORE_FILES, "VectorStoreFileBatch"),
        ("GET", f"{_BATCH}/files"): Operation(
            "listBatchFiles", _STORE_FILES, "VectorStoreFilePage", query=(*_PAGE, "filter")
        ),
    }


def _others() -> dict[tuple[str, str], Operation]:
    not_ready = {503: "`not_ready`."}
    return {
        ("POST", "/v1/chat/completions"): Operation(
            "completeChat",
            "Chat Completions",
            "ChatCompletion",
            ChatRequest,
            once=True,
            media={EVENTS: "Chunks, `data: [DONE]` behind them; a comment every 10 s of silence."},
            errors={
                **_ONCE,
                400: "The request is wrong; `unsupported_by_model`: not for this model.",
                429: "The provider asks for patience.",
                502: _FAILED,
            },
            more=_CHAT,
        ),
        ("POST", "/v1/embeddings"): Operation(
            "createEmbeddings",
            "Embeddings",
            "EmbeddingList",
            EmbeddingRequest,
            once=True,
            errors={**_ONCE, 400: "`unsupported_by_model`: the model makes no embeddings.", 502: _FAILED},
        ),
        ("GET", "/v1/models"): Operation("listModels", _MODELS, "ModelList", more=_SHARED),
        ("GET", "/v1/models/{model}"): Operation("getModel", _MODELS, "Model"),
        ("GET", "/v1/models/{provider}/{model}"): Operation("getModelByFullName", _MODELS, "Model"),
        ("GET", "/v1/models/{provider}/{owner}/{model}"): Operation("getModelOfAnOwner", _MODELS, "Model"),
        ("GET", "/livez"): Operation("live", _SERVER, "Health"),
        ("GET", "/readyz"): Operation("ready", _SERVER, "Health", errors=not_ready),
        ("GET", "/health"): Operation("health", _SERVER, "Health", errors=not_ready),
        ("GET", "/metrics"): Operation(
            "readMetrics", _SERVER, media={"text/plain": "The server's numbers in Prometheus' text format."}
        ),
        ("GET", "/docs"): Operation("readDocs", _SERVER, media={"text/html": "The page."}),
        ("GET", "/openapi.json"): Operation("describeHttp", _SERVER, media={JSON: "OpenAPI 3.1."}),
        ("GET", "/asyncapi.json"): Operation("describeSockets", _SERVER, media={JSON: "AsyncAPI 3.0."}),
        ("GET", "/llms.txt"): Operation("describeForModels", _SERVER, media={"text/plain": "The text."}),
    }


def _realtime() -> dict[tuple[str, str], Operation]:
    return {
        ("POST", "/v1/realtime/client_secrets"): Operation(
            "createClientSecret", "Browsers", "ClientSecret", ClientSecretRequest, more=_FOR_A_BROWSER
        ),
        ("POST", "/v1/realtime/translations/client_secrets"): Operation(
            "createTranslationSecret", "Browsers", "ClientSecret", ClientSecretRequest, more=_FOR_A_BROWSER
        ),
        ("POST", "/v1/realtime/calls"): Operation(
            "createCall",
            "Realtime",
            takes=("application/sdp", FORM),
            status=201,
            media={"application/sdp": "The provider's answer; the header `location` ends with the id of the call."},
            errors={400: "`unsupported_by_model`: the model takes no calls.", 502: _FAILED},
            more="A call over WebRTC: its media and events pass between client and provider alone.",
        ),
        ("POST", "/v1/realtime/calls/{call_id}/hangup"): Operation(
            "hangUp", "Realtime", errors={404: "`call_not_found`, or the provider knows of it no more.", 502: _FAILED}
        ),
    }
