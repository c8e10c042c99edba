"""One resolver from a request's credential to its `Principal`, for every route and socket."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import unquote_plus

from chatbackend.domain.errors import Forbidden, InvalidRequest, Unauthenticated
from chatbackend.domain.identity import ApiKey, ClientSecret, Principal, user_owner
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.web.http import header

CACHE_S = 2.0  # a revoked key is refused within this on new requests and (checked every 2 s) within 5 s on sockets
FOR_A_BROWSER = "ek_"
_OFFERED = "openai-insecure-api-key."  # before the secret, among a browser's subprotocols
_IN_URL = re.compile(r"(?:ek_|sk-cb-)[\w-]{43}")  # whole secrets of ours only: a search may be about anything else
_KEY_HEADERS = (b"api-key", b"x-api-key")
_USER = re.compile(r"[A-Za-z0-9_.:@|+-]{1,128}")
_MISSING = (
    "You didn't provide an API key. Send it as 'Authorization: Bearer KEY' (or 'api-key', or 'x-api-key'); "
    "'chatbackend keys create' makes one."
)


def hash_key(token: str) -> str:
    """Return what is stored of a key: the SHA-256 of the whole token, as hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def credential(headers: Iterable[tuple[bytes, bytes]], subprotocols: Iterable[str] = ()) -> str | None:
    """Return the token of the one credential header, or of the subprotocol that carries one.

    Header names are lower-case, as ASGI has them.
    Raises: Unauthenticated when several differ: which one counts must not be a matter of luck.
    """
    found = {name.removeprefix(_OFFERED) for name in subprotocols if name.startswith(_OFFERED)}
    if found and not all(token.startswith(FOR_A_BROWSER) for token in found):
        raise Unauthenticated("Only a client secret may be sent as a subprotocol; an API key goes into a header.")
    for name, value in headers:
        if name in _KEY_HEADERS:
            found.add(value.decode("latin-1").strip())
        elif name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            found.add(token.strip() if scheme.lower() == "bearer" else "")
    if len(found) > 1:
        raise Unauthenticated("Several credentials that differ were sent; send one.")
    return found.pop() if found else None


def refuse_credential_in_url(query: bytes) -> None:
    """Refuse a query that holds a secret of ours, though it would not count. Raises: InvalidRequest."""
    if query and _IN_URL.search(unquote_plus(query.decode("latin-1"))):
        message = "A credential is never taken from a URL, which logs and histories keep. Replace it: it is known now."
        raise InvalidRequest(message, code="credential_in_url")


class Resolver:
    """Looks keys and client secrets up by hash, with a short-lived memory.

    `monotonic` gives seconds, `now` seconds since the epoch.
    """

    def __init__(
        self, keys: Keys, secrets: ClientSecrets, monotonic: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._secrets = secrets
        self._monotonic = monotonic
        self._now = now
        self._known: OrderedDict[str, tuple[float, ApiKey | ClientSecret]] = OrderedDict()

    async def __call__(self, headers: Iterable[tuple[bytes, bytes]], subprotocols: Iterable[str] = ()) -> Principal:
        """Return who calls. Raises: Unauthenticated, InvalidRequest or Forbidden (the user header)."""
        headers = list(headers)
        token = credential(headers, subprotocols)
        if not token:
            raise Unauthenticated(_MISSING)
        found = await self._find(token)
        user = header(headers, b"chatbackend-user")
        if isinstance(found, ClientSecret):
            return self._of_secret(found, user)
        owner = found.account if user is None else owner_of(found.account, user.decode("latin-1"))
        return Principal(found.tenant, found.account, owner, found.id)

    async def still_valid(self, principal: Principal) -> bool:
        """Return whether the key behind a live socket has not been revoked."""
        alive = await self._keys.alive(principal.key_id)
        if not alive:
            self._known = OrderedDict(
                (k, known) for k, known in self._known.items() if _key(known[1]) != principal.key_id
            )
        return alive

    def _of_secret(self, secret: ClientSecret, user: bytes | None) -> Principal:
        if secret.expires_at <= self._now():
            raise Unauthenticated("This client secret has expired.", code="client_secret_expired")
        if user is not None:
            raise Forbidden("A client secret acts as its own user; leave chatbackend-user out.")
        return Principal(secret.tenant, secret.account, secret.owner, secret.key_id, secret)

    async def _find(self, token: str) -> ApiKey | ClientSecret:
        hashed, now = hash_key(token), self._monotonic()
        known = self._known.get(hashed)
        if known is not None and known[0] > now:
            return known[1]
        secret = await self._secrets.find(hashed) if token.startswith(FOR_A_BROWSER) else None
        found = secret or await self._keys.find(hashed)
        if found is None:
            self._known.pop(hashed, None)
            raise Unauthenticated("Incorrect API key provided.")
        self._known[hashed] = (now + CACHE_S, found)
        while len(self._known) > 10_000:
            self._known.popitem(last=False)
        return found


def owner_of(account: str, user: str, *, param: str = "chatbackend-user") -> str:
    """Return the owner of a user's rows. Raises: InvalidRequest for a name that is none."""
    if not _USER.fullmatch(user):
        message = f"{param} must be 1 to 128 of letters, digits and _ . : @ | + -"
        raise InvalidRequest(message, param=param)
    return user_owner(account, user)


def _key(found: ApiKey | ClientSecret) -> str:
    return found.id if isinstance(found, ApiKey) else found.key_id
