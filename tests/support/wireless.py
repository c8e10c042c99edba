"""The whole app in the test's process: requests that came over no connection, from clients that stay."""

from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import httpx2

from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.wire import EXTENSION


def into(web: WebApp) -> httpx2.ASGITransport:
    """Return a transport into an app."""

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI has them
        scope["extensions"] = {EXTENSION: SimpleNamespace(on_gone=None, is_gone=False)}
        await web(scope, receive, send)

    return httpx2.ASGITransport(app=app)
