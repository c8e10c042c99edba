"""Tokens of Entra ID as a credential: fetched at the first call, and again ahead of their end.

Source: the `TokenCredential` protocol of `azure-core` (credentials_async.py).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError

from chatbackend.domain.errors import UpstreamDenied
from chatbackend.infra.models.credentials import Headers

AHEAD_S = 300.0  # a token is fetched anew this long before it ends
AGAIN_S = 30.0  # and, where that fails while the old one is good, not tried again for as long
FETCH_S = 20.0
REFUSED_S = 1.0  # for which those who waited are told the same, instead of each trying in turn
UNIDENTIFIED = (
    "This server could not get a token of Entra ID for its provider: its identity has to be mended, "
    "or AZURE_OPENAI_API_KEY set."
)


class TokenSource(Protocol):
    """What gets tokens: any asynchronous credential of `azure-identity`."""

    async def get_token(self, *scopes: str) -> AccessToken: ...

    async def close(self) -> None: ...


class EntraCredential:
    """`Credential` whose headers stay the same object until the token changes. `now` gives seconds since the epoch."""

    def __init__(self, source: TokenSource, scope: str, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._scope = scope
        self._now = now
        self._headers: Headers = {}
        self._token = ""
        self._ends = 0.0
        self._due = 0.0
        self._refused_until = 0.0
        self._fetching = asyncio.Lock()

    async def __call__(self) -> Headers:
        """Return the headers of now; one caller fetches, others wait only where there is no good token.

        Raises: UpstreamDenied when there is none to be had.
        """
        if self._now() >= self._due and not (self._fetching.locked() and self._good()):
            async with self._fetching:
                if self._now() < self._refused_until:  # while this call waited for its turn
                    raise UpstreamDenied(UNIDENTIFIED)
                if self._now() >= self._due:
                    await self._fetch()
        return self._headers

    def _good(self) -> bool:
        return self._now() < self._ends

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_S):
                token = await self._source.get_token(self._scope)
        except (AzureError, TimeoutError, OSError, ValueError) as error:
            if not self._good():
                self._refused_until = self._now() + REFUSED_S
                raise UpstreamDenied(UNIDENTIFIED) from error
            self._due = self._now() + AGAIN_S
            return
        self._ends, self._due = token.expires_on, token.expires_on - AHEAD_S
        if token.token != self._token:
            self._token, self._headers = token.token, {"authorization": f"Bearer {token.token}"}
        if self._due <= self._now():  # a token as short as that is used to its end
            self._due = min(self._ends, self._now() + AGAIN_S)


def default_source() -> TokenSource:
    """Return what finds an identity in the environment, on the machine or in a developer's tools; asks nobody yet."""
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - slow to import, and few need it

    return DefaultAzureCredential()
