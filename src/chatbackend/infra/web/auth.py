"""One resolver from a request's credential to its `Principal`, for every route and socket."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable

from chatbackend.domain.errors import InvalidRequest, Unauthenticated
from chatbackend.domain.identity import ApiKey, Principal, user_owner
from chatbackend.infra.db.keys import Keys

CACHE_S = 2.0  # a revoked key is refused within this on new requests and (checked every 2 s) within 5 s on sockets
_USER = re.compile(r"[A-Za-z0-9_.:@|+-]{1,128}")
_MISSING = (
    "You didn't provide an API key. Send it as 'Authorization: Bearer KEY' (or 'api-key', or 'x-api-key'); "
    "'chatbackend keys create' makes one."
)


def hash_key(token: str) -> str:
    """Return what is stored of a key: the SHA-256 of the whole token, as hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def credential(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the token of the one credential header that is present.

    Raises: Unauthenticated when several differ: which one counts must not be a matter of luck.
    """
    found: set[str] = set()
    for name, value in headers:
        text = value.decode("latin-1")
        match name.lower():
            case b"authorization":
                scheme, _, token = text.partition(" ")
                found.add(token.strip() if scheme.lower() == "bearer" else "")
            case b"api-key" | b"x-api-key":
                found.add(text.strip())
            case _:
                pass
    if len(found) > 1:
        raise Unauthenticated("Several credentials that differ were sent; send one.")
    return found.pop() if found else None


class Resolver:
    """Looks keys up by hash, with a short-lived memory. `monotonic` gives seconds."""

    def __init__(self, keys: Keys, monotonic: Callable[[], float]) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()

    async def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return who calls. Raises: Unauthenticated, InvalidRequest (the user header)."""
        headers = list(headers)
        token = credential(headers)
        if not token:
            raise Unauthenticated(_MISSING)
        key = await self._find(hash_key(token))
        user = next((value for name, value in headers if name.lower() == b"chatbackend-user"), None)
        owner = key.account if user is None else user_owner(key.account, _checked_user(user))
        return Principal(key.tenant, key.account, owner, key.id)

    async def still_valid(self, principal: Principal) -> bool:
        """Return whether the key behind a live socket has not been revoked."""
        alive = await self._keys.alive(principal.key_id)
        if not alive:
            self._known = OrderedDict((k, known) for k, known in self._known.items() if known[1].id != principal.key_id)
        return alive

    async def _find(self, hashed: str) -> ApiKey:
        now = self._monotonic()
        known = self._known.get(hashed)
        if known is not None and known[0] > now:
            return known[1]
        key = await self._keys.find(hashed)
        if key is None:
            self._known.pop(hashed, None)
            raise Unauthenticated("Incorrect API key provided.")
        self._known[hashed] = (now + CACHE_S, key)
        while len(self._known) > 10_000:
            self._known.popitem(last=False)
        return key


def _checked_user(value: bytes) -> str:
    user = value.decode("latin-1")
    if not _USER.fullmatch(user):
        message = "chatbackend-user must be 1 to 128 of letters, digits and _ . : @ | + -"
        raise InvalidRequest(message, param="chatbackend-user")
    return user
