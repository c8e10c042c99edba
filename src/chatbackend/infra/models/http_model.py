"""A model behind HTTP: runs any provider codec over one pooled client session, and hangs up at once."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import aiohttp

from chatbackend.adapters.providers.answer_body import AnswerBody, answer_body
from chatbackend.adapters.providers.codec import Codec, WireRequest
from chatbackend.domain.errors import ChatError, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential
from chatbackend.infra.models.lean_connection import CutOff, Garbled

MAX_ERROR_BYTES = 64 << 10

# Foreign errors and what they mean; the first row that matches wins. aiohttp's timeouts are TimeoutErrors.
TABLE: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (TimeoutError, UpstreamTimeout, "The provider did not answer in time."),
    (aiohttp.ClientConnectorError, UpstreamError, "The provider cannot be reached."),
    (aiohttp.ClientPayloadError, UpstreamCut, "The provider's answer was cut off."),
    (aiohttp.ClientConnectionError, UpstreamCut, "The provider hung up."),
    (aiohttp.ClientError, UpstreamError, "The call of the provider failed."),
    (Garbled, UpstreamError, "The call of the provider failed."),
    (CutOff, UpstreamCut, "The provider's answer was cut off."),
    (ConnectionError, UpstreamCut, "The provider hung up."),
    (OSError, UpstreamError, "The provider cannot be reached."),
)
FOREIGN: tuple[type[Exception], ...] = tuple(foreign for foreign, _, _ in TABLE)


def client_session() -> aiohttp.ClientSession:
    """Return a session for every upstream of a process; whoever makes it closes it.

    No limit of connections (calls are limited before they get here), no cookies, no proxies or credentials out of the
    environment. Answers are asked for, and taken, uncompressed only: no bomb is ever unpacked.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=30),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


def translate(error: Exception) -> UpstreamError:
    """Return the domain's error for one of the `FOREIGN` ones."""
    return next(ours(message) for foreign, ours, message in TABLE if isinstance(error, foreign))


class HttpModel:
    """A model of a provider, spoken to in the provider's dialect. `url` makes the address of the codec's path."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: Callable[[str], str], codec: Codec, credential: Credential
    ) -> None:
        self._session = session
        self._url = url
        self._codec = codec
        self._credential = credential

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        return self._codec.profile

    async def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        """Ask once, never retry. Close the generator to hang up; the upstream connection ends at once.

        Raises: InvalidRequest before dialling, UpstreamError (and below) at any point after.
        """
        http = await self._post(self._codec.request(request), timeouts)
        try:
            body = await self._body_of(http, request, timeouts)
            wait_s = timeouts.first_byte_s
            while not body.done:
                try:
                    chunk = await _read(http, wait_s)
                except FOREIGN as error:
                    for event in _rest(body, error):
                        yield event
                    return
                if not chunk:
                    break
                for event in body.feed(chunk):
                    yield event
                wait_s = timeouts.between_s
            for event in body.end():
                yield event
            await _drain(http, timeouts.end_s)
        finally:
            http.close()  # does nothing to a connection whose answer was read to its last byte: that one is in the pool

    async def _post(self, wire: WireRequest, limits: Timeouts) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(limits.connect_s + limits.first_byte_s):
                return await self._send(wire, aiohttp.ClientTimeout(total=None, connect=limits.connect_s))
        except TimeoutError as error:
            raise translate(error) from error

    async def _send(self, wire: WireRequest, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:  # noqa: ASYNC109 - the client's own kind
        try:
            return await self._session.post(
                self._url(wire.path),
                data=wire.body,
                headers={**wire.headers, **await self._credential()},
                allow_redirects=False,  # a redirect would carry the key and the prompt elsewhere
                timeout=timeout,
            )
        except FOREIGN as error:
            raise translate(error) from error

    async def _body_of(self, http: aiohttp.ClientResponse, request: ModelRequest, limits: Timeouts) -> AnswerBody:
        if 200 <= http.status < 300:
            encoding = http.headers.get("content-encoding", "").lower()
            return answer_body(self._codec, request, content_type=http.content_type, content_encoding=encoding)
        raise await self._refusal(http, limits.between_s)

    async def _refusal(self, http: aiohttp.ClientResponse, wait_s: float) -> ChatError:
        """Return the error of a status that is not 2xx; a body that does not come whole is judged as it came."""
        body = bytearray()
        try:
            while len(body) < MAX_ERROR_BYTES and (chunk := await _read(http, wait_s)):
                body += chunk
        except FOREIGN:
            pass
        headers = {name.lower(): value for name, value in http.headers.items()}
        return self._codec.error(http.status, headers, bytes(body))


async def _read(http: aiohttp.ClientResponse, wait_s: float) -> bytes:
    """Return the next bytes, b"" at the end. Bounded: the client stops the peer at 128 KiB unread."""
    async with asyncio.timeout(wait_s):
        return await http.content.readany()


def _rest(body: AnswerBody, error: Exception) -> list[ModelEvent]:
    """Return what is left of an answer whose connection failed, if it had said why it stopped.

    Raises: what the failure means, otherwise.
    """
    try:
        return body.end()
    except UpstreamError:
        raise translate(error) from error


async def _drain(http: aiohttp.ClientResponse, wait_s: float) -> None:
    """Read past the end mark to the end of the body, shortly, so that the connection can be used again."""
    try:
        async with asyncio.timeout(wait_s):
            while await http.content.readany():
                pass
    except FOREIGN:
        pass
