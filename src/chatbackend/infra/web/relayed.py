"""An answer of a provider on its way to the client, byte by byte."""

from collections.abc import Callable

from chatbackend.domain.errors import UpstreamError
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request
from chatbackend.infra.web.wire import wire_of
from chatbackend.usecases.relay_chat import Relayed


async def send_relayed(
    request: Request, relayed: Relayed, attempts: int, *, stream: bool, told: Callable[[UpstreamError], bytes]
) -> None:
    """Send an answer, and who gave it. In a stream `told` makes the last event of an error; no end mark follows it."""
    request.answered |= {DEPLOYMENT: relayed.call.model, ATTEMPTS: str(attempts)}
    if not stream:
        return await request.answer(200, relayed.body)
    wire = wire_of(request.scope)
    kind = (b"content-type", relayed.content_type.encode("latin-1", "replace"))

    async def start() -> None:
        await request.start(200, [kind, (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")])

    try:
        last = await relayed.pass_on(start, wire.write, wire.drained)
    except UpstreamError as error:
        last = told(error)
    return await request.send({"type": "http.response.body", "body": last})
