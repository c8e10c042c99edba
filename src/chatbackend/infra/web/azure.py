"""The paths that clients of Azure OpenAI dial for the routes that we have: `/openai/v1/...` and by deployment.

`api-version` is accepted and means nothing: every version gets the same answers.
Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

from collections.abc import Iterable

from chatbackend.infra.web.http import Message, Receive, Request, decode_object, encode
from chatbackend.infra.web.routes import Handler, Route

_BY_DEPLOYMENT = ("/chat/completions", "/embeddings")  # what a client asks of a deployment by its path
_V1 = "/v1"


def azure_routes(routes: Iterable[Route], *, max_body_bytes: int) -> list[Route]:
    """Return the further routes to the handlers of `routes`.

    A deployment's name in the path takes the place of the body's model: it may be any name of a model, `provider/name`
    included.
    """
    found: list[Route] = []
    for method, path, handler in routes:
        if not path.startswith(f"{_V1}/"):
            continue
        found.append((method, f"/openai{path}", handler))
        short = path.removeprefix(_V1)
        if short not in _BY_DEPLOYMENT:
            found.append((method, f"/openai{short}", handler))
            continue
        named = _named_by_path(handler, max_body_bytes)
        found.append((method, f"/openai/deployments/{{deployment}}{short}", named))
        found.append((method, f"/openai/deployments/{{provider}}/{{deployment}}{short}", named))
    return found


def _named_by_path(handler: Handler, max_body_bytes: int) -> Handler:
    async def named(request: Request) -> None:
        fields = decode_object(await request.body(max_body_bytes))
        names = (request.path_params.get("provider"), request.path_params["deployment"])
        fields["model"] = "/".join(filter(None, names))
        request.receive = _again(encode(fields), request.receive)
        await handler(request)

    named.__doc__ = handler.__doc__
    return named


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what delivers `body`, and after it whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received
