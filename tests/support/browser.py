"""Chromium without a screen, driven over its own protocol; its microphone is a device that beeps.

It reaches nothing but this machine. Source: https://chromedevtools.github.io/devtools-protocol/
"""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from subprocess import DEVNULL
from threading import Thread
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import Process, TaskStatus
from anyio.streams.text import TextReceiveStream
from websockets.asyncio.client import ClientConnection, connect

from tests.support.requires import require_program

WAIT_S = 20.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-audio-output",  # a device that takes all in time, where a machine has none
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_LISTENING = re.compile(r"DevTools listening on (ws://\S+)\n")
_numbers = count(1)


class Page:
    """One page; `connection` speaks of it alone."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def run(self, source: str) -> Any:  # noqa: ANN401 - whatever the page says
        """Return what an expression gives, once its promise is kept."""
        wanted = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = await self._call("Runtime.evaluate", expression=source, **wanted)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str) -> Any:  # noqa: ANN401 - whatever the page says
        """Wait until an expression is true; return it."""
        with anyio.fail_after(WAIT_S):
            look = f"const look = () => {{ const is = {condition}; is ? resolve(is) : setTimeout(look, 20); }}; look();"
            return await self.run(f"new Promise((resolve) => {{ {look} }})")

    async def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        await self._call("Page.enable")
        number = next(_numbers)
        await self._connection.send(json.dumps({"id": number, "method": "Page.navigate", "params": {"url": url}}))
        missing = {number, "Page.loadEventFired"}  # in any order
        with anyio.fail_after(WAIT_S):
            while missing:
                told = json.loads(await self._connection.recv())
                missing -= {told.get("id"), told.get("method")}

    async def _call(self, method: str, **params: object) -> dict[str, Any]:
        return await _call(self._connection, method, **params)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncGenerator[Page]:
    """Start a browser with a page; `folder` is its own."""
    program = require_program("chromium", "chromium")
    command = [program, *FLAGS, f"--user-data-dir={folder}"]
    async with (
        await anyio.open_process(command, stdin=DEVNULL, stdout=DEVNULL) as process,
        anyio.create_task_group() as group,
    ):
        try:
            with anyio.fail_after(WAIT_S):
                address = await group.start(_listen, process)
            async with connect(address, max_size=None) as browser:
                target = (await _call(browser, "Target.createTarget", url="about:blank"))["targetId"]
            async with connect(f"{address.partition('/devtools')[0]}/devtools/page/{target}", max_size=None) as page:
                yield Page(page)
        finally:
            process.terminate()


@asynccontextmanager
async def serving_files(folder: Path) -> AsyncGenerator[str]:
    """Serve a folder as a site of this machine; return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{site.server_port}"
        finally:
            await anyio.to_thread.run_sync(site.shutdown)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


async def _listen(process: Process, *, task_status: TaskStatus[str]) -> None:
    """Take what the browser prints, to its end; say the address once it is among it."""
    assert process.stderr is not None
    printed = ""
    async for text in TextReceiveStream(process.stderr):
        before, printed = printed, printed + text
        address = _LISTENING.search(printed)
        if address and not _LISTENING.search(before):
            task_status.started(address[1])


async def _call(connection: ClientConnection, method: str, **params: object) -> dict[str, Any]:
    """Ask the browser; return its answer."""
    number = next(_numbers)
    await connection.send(json.dumps({"id": number, "method": method, "params": params}))
    with anyio.fail_after(WAIT_S):
        while True:
            told = json.loads(await connection.recv())
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                return told["result"]
