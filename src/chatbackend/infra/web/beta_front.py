"""A socket of a client that speaks beta, as one that speaks GA: for whoever serves GA alone."""

from dataclasses import replace

from chatbackend.adapters.realtime import notices
from chatbackend.adapters.realtime.dialect import translation
from chatbackend.adapters.realtime.frames import Event, Frame, encode, parsed, said, written
from chatbackend.domain.errors import InvalidRequest
from chatbackend.infra.web.http import Message, Request
from chatbackend.usecases.ports import NewId


def spoken_in_ga(request: Request, new_id: NewId) -> Request:
    """Return a request whose frames are translated on their way in and out."""
    front = _BetaFront(request, new_id)
    return replace(request, receive=front.receive, send=front.send)


class _BetaFront:
    def __init__(self, request: Request, new_id: NewId) -> None:
        self._request = request
        self._new_id = new_id

    async def receive(self) -> Message:
        """Return the next message that has a meaning in GA; the client is told of any other."""
        while True:
            message = await self._request.receive()
            frame: Frame | None = message.get("text") or message.get("bytes")
            if frame is None:
                return message
            event: Event = {}
            try:
                event = parsed(frame)
                return {"type": message["type"], "text": written(translation.client_event(event, to="ga"))}
            except InvalidRequest as error:
                told = notices.error_event(error, self._new_id("event"), about=event.get("event_id"))
                await self._request.send({"type": "websocket.send", "text": encode(told).decode()})

    async def send(self, message: Message) -> None:
        """Send what a message is in beta, which may be nothing."""
        frame: Frame | None = message.get("text")
        event = None if frame is None else said(frame)
        if event is None:
            return await self._request.send(message)
        for each in translation.provider_event(event, to="beta"):
            await self._request.send({"type": "websocket.send", "text": encode(each).decode()})
        return None
