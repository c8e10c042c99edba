"""Shapes of `POST /v1/realtime/client_secrets`, and of that for translations.

Source: the `openai` package, `client_secret_create_params.py` of `types/realtime` and of `types/realtime/translations`.
A `session` is what realtime sessions begin with. What a secret is bound to is ours, under `chatbackend`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import checked
from chatbackend.adapters.realtime.frames import as_object
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret
from chatbackend.domain.realtime import SessionKind, Terms

DEFAULT_S = 600
MAX_INSTRUCTIONS = 32_768
_OF_ANSWERS = ("instructions", "vector_store_ids", "client_tools", "show_sources", "conversation", "renew")


class ExpiresAfter(Struct, forbid_unknown_fields=True):
    """When the secret ends."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = DEFAULT_S


class SecretTranscription(Struct):
    """What writes down what is said."""

    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class SecretInput(Struct):
    """What is heard."""

    transcription: SecretTranscription | None = None


class SecretAudio(Struct):
    """The part of a configuration that may name a model."""

    input: SecretInput | None = None


class SecretSession(Struct):
    """What a session begins with: any field of GA's configuration, which its provider judges.

    One for transcription has its model in `audio.input.transcription`; a translation may have another one there.
    """

    type: SessionKind = "realtime"
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    audio: SecretAudio | None = None

    @property
    def named(self) -> str | None:
        """The model that it is with."""
        return self.transcriber if self.type == "transcription" else self.model

    @property
    def transcriber(self) -> str | None:
        """The model that writes down what is said."""
        heard = None if self.audio is None else self.audio.input
        return None if heard is None or heard.transcription is None else heard.transcription.model


class Binding(Struct, forbid_unknown_fields=True):
    """Whom the secret acts as, which models it may name, and what its realtime sessions are held to.

    `instructions` go before a client's own, and `vector_store_ids` are searched, without its seeing either.
    `client_tools` are the names that its own functions may have. `show_sources`: it may see what is found.
    `conversation` is the one that its realtime sessions are bound to. `renew`: they outlast their provider's.
    `max_tokens`, input and output together, bound what one session may use.
    """

    user: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    models: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=64)] | None
    ) = None
    instructions: Annotated[str, Meta(max_length=MAX_INSTRUCTIONS)] | None = None
    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=16)] | None = None
    client_tools: Annotated[list[str], Meta(max_length=128)] | None = None
    show_sources: bool = False
    conversation: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    renew: bool = False


class ClientSecretRequest(Struct, forbid_unknown_fields=True):
    """What a secret is asked for with."""

    expires_after: ExpiresAfter | None = None
    session: SecretSession | None = None
    chatbackend: Binding | None = None

    @property
    def terms(self) -> Terms:
        """What its realtime sessions are held to."""
        held = self.chatbackend or Binding()
        return Terms(
            None if self.session is None else self.session.named,
            instructions=held.instructions or "",
            vector_stores=tuple(held.vector_store_ids or ()),
            client_tools=None if held.client_tools is None else tuple(held.client_tools),
            show_sources=held.show_sources,
            kind=None if self.session is None else self.session.type,
            conversation=held.conversation,
            max_tokens=held.max_tokens,
            renew=held.renew,
        )

    @property
    def seconds(self) -> int:
        """How long it lives."""
        return DEFAULT_S if self.expires_after is None else self.expires_after.seconds

    @property
    def user(self) -> str | None:
        """The end user that it acts as."""
        return None if self.chatbackend is None else self.chatbackend.user

    @property
    def models(self) -> tuple[str, ...] | None:
        """The names of models that it may ask by."""
        models = None if self.chatbackend is None else self.chatbackend.models
        if models is None and self.session is not None:
            others = [self.session.transcriber] if self.session.type == "translation" else []
            models = [name for name in (self.session.named, *others) if name is not None] or None
        return None if models is None else tuple(models)


def read(body: Mapping[str, Any]) -> tuple[ClientSecretRequest, Terms]:
    """Read a request, and what its realtime sessions are held to. Raises: InvalidRequest naming the field."""
    wanted = checked(body, ClientSecretRequest)
    if wanted.session is None:
        return wanted, wanted.terms
    if wanted.session.type == "translation":
        message = "Secrets for translations are made by POST /v1/realtime/translations/client_secrets."
        raise InvalidRequest(message, param="session.type", code="unsupported_value")
    if wanted.session.type == "transcription" and wanted.session.model is not None:
        message = "A session for transcription names its model in audio.input.transcription."
        raise InvalidRequest(message, param="session.model", code="unsupported_parameter")
    return wanted, _begun(wanted, body["session"])


def read_for_translation(body: Mapping[str, Any]) -> tuple[ClientSecretRequest, Terms]:
    """Read a request for live translations, whose session names its model. Raises: InvalidRequest naming the field."""
    session = as_object(body.get("session"))
    if session is None or session.get("model") is None:
        message = "Name the model of the translations: session.model."
        raise InvalidRequest(message, param="session.model", code="missing_required_parameter")
    if session.get("type", "translation") != "translation":
        raise InvalidRequest("A translation's type is 'translation'.", param="session.type", code="unsupported_value")
    wanted = checked({**body, "session": {**session, "type": "translation"}}, ClientSecretRequest)
    return wanted, _begun(wanted, session)


def _begun(wanted: ClientSecretRequest, session: Mapping[str, Any]) -> Terms:
    """Return what sessions are held to, their beginning included. Raises: InvalidRequest for what has no effect."""
    terms = wanted.terms
    if terms.kind == "translation" and terms.max_tokens is not None:
        message = "Nobody says how many tokens a translation uses."
        raise InvalidRequest(message, param="chatbackend.max_tokens", code="unsupported_parameter")
    for name in _OF_ANSWERS:
        if terms.kind != "realtime" and getattr(wanted.chatbackend, name, None) not in (None, False):
            message = "Nobody answers in such a session: it is held to nothing of this kind."
            raise InvalidRequest(message, param=f"chatbackend.{name}", code="unsupported_parameter")
    return replace(terms, session={name: value for name, value in session.items() if name not in ("type", "model")})


def client_secret_object(value: str, secret: ClientSecret, *, session_id: str) -> dict[str, Any]:
    """Return what the secret is handed out as: the only time that it is shown."""
    user = None if secret.owner == secret.account else secret.owner.removeprefix(f"{secret.account}/")
    return {
        "value": value,
        "expires_at": secret.expires_at,
        "session": {
            **secret.terms.session,
            "id": session_id,
            **_kind_of(secret),
        },
        "chatbackend": {"user": user, "models": None if secret.models is None else list(secret.models)},
    }


def _kind_of(secret: ClientSecret) -> dict[str, Any]:
    terms = secret.terms
    if terms.kind == "transcription":
        return {"object": "realtime.transcription_session", "type": "transcription"}
    if terms.kind == "translation":
        audio = as_object(terms.session.get("audio")) or {}
        return {"type": "translation", "model": terms.model, "audio": audio, "expires_at": secret.expires_at}
    named = {} if terms.model is None else {"model": terms.model}
    return {"object": "realtime.session", "type": "realtime", **named}
