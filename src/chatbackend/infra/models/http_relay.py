"""Requests passed on to a provider over the lean client, and what its failures mean."""

from chatbackend.adapters.providers.answer_body import MAX_WHOLE_BYTES
from chatbackend.adapters.providers.codec import Codec
from chatbackend.domain.errors import ChatError, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential, Headers
from chatbackend.infra.models.lean_client import LeanClient, Target, target
from chatbackend.infra.models.lean_connection import CutOff, Garbled, LeanConnection
from chatbackend.usecases.ports import Drained, Take

MAX_ERROR_BYTES = 64 << 10

# Foreign errors and what they mean; the first row that matches wins.
TABLE: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (TimeoutError, UpstreamTimeout, "The provider did not answer in time."),
    (Garbled, UpstreamError, "The call of the provider failed."),
    (CutOff, UpstreamCut, "The provider's answer was cut off."),
    (ConnectionError, UpstreamCut, "The provider hung up."),
    (OSError, UpstreamError, "The provider cannot be reached."),
)
FOREIGN: tuple[type[Exception], ...] = tuple(foreign for foreign, _, _ in TABLE)


def translate(error: Exception) -> UpstreamError:
    """Return the domain's error for one of the `FOREIGN` ones."""
    return next(ours(message) for foreign, ours, message in TABLE if isinstance(error, foreign))


class HttpRelay:
    """`Relay` to one address. `codec` knows what the provider's refusals mean."""

    def __init__(
        self, client: LeanClient, codec: Codec, *, url: str, credential: Credential, method: str = "POST"
    ) -> None:
        self._client = client
        self._method = method
        self._codec = codec
        self._url = url
        self._credential = credential
        self._proof: Headers = {}
        self._said: Headers = {}
        self._to: Target | None = None

    async def __call__(self, body: bytes, timeouts: Timeouts, *, stream: bool, headers: Headers) -> "RelayedHttpAnswer":
        """See `Relay`."""
        to = await self._target(headers)
        try:
            http = await self._client.post(to, body, timeouts, whole=not stream)
        except FOREIGN as error:
            raise translate(error) from error
        if not 200 <= http.status < 300:
            raise await self._refusal(to, http)
        return RelayedHttpAnswer(self._client, to, http)

    async def _target(self, headers: Headers) -> Target:
        """Return where to post, with the credential of now: made again only where that, or `headers`, have changed."""
        proof = await self._credential()
        if self._to is None or proof is not self._proof or headers != self._said:
            try:
                self._to = target(self._url, {"content-type": "application/json", **headers, **proof}, self._method)
            except ValueError as error:
                raise UpstreamError("The call of the provider failed.") from error
            self._proof, self._said = proof, headers
        return self._to

    async def _refusal(self, to: Target, http: LeanConnection) -> ChatError:
        """Return the error of a status that is not 2xx; a body that does not come whole is judged as it came."""
        body = bytearray()
        try:
            while len(body) < MAX_ERROR_BYTES and (chunk := await http.read()):
                body += chunk
        except FOREIGN:
            pass
        finally:
            self._client.release(to, http)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in http.headers.items()}
        return self._codec.error(http.status, headers, bytes(body[:MAX_ERROR_BYTES]))


class RelayedHttpAnswer:
    """`RelayedAnswer` over a connection, which goes back to the client at the end."""

    def __init__(self, client: LeanClient, to: Target, http: LeanConnection) -> None:
        self.content_type = http.headers.get(b"content-type", b"").decode("latin-1")
        self.location = http.headers.get(b"location", b"").decode("latin-1")
        self.content_encoding = http.headers.get(b"content-encoding", b"").decode("latin-1").lower()
        self._client = client
        self._to = to
        self._http = http
        self._closed = False

    async def read(self) -> bytes:
        """See `RelayedAnswer.read`."""
        try:
            return await self._http.read()
        except FOREIGN as error:
            raise translate(error) from error

    async def pass_on(self, take: Take, drained: Drained) -> bytes:
        """See `RelayedAnswer.pass_on`."""
        try:
            return await self._http.pass_on(take, drained)
        except FOREIGN as error:
            raise translate(error) from error
        finally:
            self.close()

    async def whole(self) -> bytes:
        """See `RelayedAnswer.whole`."""
        pieces: list[bytes] = []
        size = 0
        try:
            while chunk := await self._http.read():
                pieces.append(chunk)
                size += len(chunk)
                if size > MAX_WHOLE_BYTES:  # a provider that never ends would take all memory, at hundreds of MB/s
                    raise UpstreamError("The provider sent an answer that is too large.")
        except FOREIGN as error:
            raise translate(error) from error
        finally:
            self.close()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """See `RelayedAnswer.close`."""
        if not self._closed:  # once: the connection may be another call's by now
            self._closed = True
            self._client.release(self._to, self._http)
