"""Azure OpenAI: OpenAI's dialects at a resource, where a deployment's name stands for the model.

Source: the Azure OpenAI REST API reference, and its page on the v1 API.
"""

from urllib.parse import quote, urlsplit

from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.family import Address, Family
from chatbackend.adapters.realtime.upstreams import RealtimeAddress, realtime_address, session_path, session_query
from chatbackend.domain.realtime import SessionKind

_WRITTEN = ("/openai/v1", "/openai")  # how much of the path an operator may have copied


def url(address: Address, path: str) -> str:
    """Return where a deployment is called: by its name in the path with a dated version, else by the v1 API."""
    resource = _resource(address)
    if not address.version:
        return f"{resource}/openai/v1{path}"
    place = "" if path.startswith("/responses") else f"/deployments/{quote(address.model, safe='')}"
    return f"{resource}/openai{place}{path}?api-version={quote(address.version, safe='')}"


def realtime(address: Address, kind: SessionKind) -> RealtimeAddress:
    """Return where sessions with a deployment are; with a dated version, those of the preview API, if it has them."""
    resource = _resource(address)
    if not address.version or kind == "translation":
        return realtime_address(
            f"{resource}/openai/v1{session_path(kind)}", session_query(kind, {"model": address.model})
        )
    query = {"api-version": address.version, **session_query(kind, {"deployment": address.model})}
    return realtime_address(f"{resource}/openai/realtime", query, "beta")


def calls(address: Address) -> str:
    """Return the address that calls are below: at the v1 API, whatever the version."""
    return f"{_resource(address)}/openai/v1{session_path('realtime')}"


def _resource(address: Address) -> str:
    resource = address.endpoint.rstrip("/")
    if urlsplit(resource).path:
        for written in _WRITTEN:
            resource = resource.removesuffix(written)
    return resource


def api_key(key: str) -> dict[str, str]:
    """Return Azure's header; none where a token does its work."""
    return {"api-key": key} if key else {}


AZURE = Family(
    "azure",
    "AZURE_OPENAI",
    OPENAI.codec,
    OPENAI.profile,
    OPENAI.facts,
    apis=OPENAI.apis,
    authorise=api_key,
    token_scope="https://cognitiveservices.azure.com/.default",  # noqa: S106 - a scope, no secret
    url=url,
    socket_codec=OPENAI.socket_codec,
    relays={"chat": "/chat/completions", "embeddings": "/embeddings"},
    realtime=realtime,
    calls=calls,
)
