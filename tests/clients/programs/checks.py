"""The checks that every client program in Python does: `catalogue.py` says what each is about."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from tests.clients.programs.driver import Answer, Driver, Failure, Question, Settings, Tool, collect
from tests.clients.programs.upstream_log import Log

CLOSED_S = 0.25  # within which an upstream call nobody waits for is closed
PATIENCE_S = (0.25, 1.0, 4.0)  # of a client that waits no longer; the first that lets its request arrive counts


class Late(AssertionError):
    """A time was missed. A busy machine misses one by itself: such a check may be tried again."""


class Checks:
    """The checks of one driver class, each a method; they share what it keeps open, as a program that uses it does."""

    def __init__(self, driver: type[Driver], settings: Settings, refuses: frozenset[str]) -> None:
        self.log = Log("")
        self._class = driver
        self._settings = settings
        self._refuses = refuses
        self._drivers: dict[Settings, Driver] = {}
        self._messages = driver.dialect == "messages"

    def _driver(self, changed: Settings | None = None) -> Driver:
        settings = changed or self._settings
        if settings not in self._drivers:
            self._drivers[settings] = self._class(settings)
        return self._drivers[settings]

    async def close(self) -> None:
        """Close every driver."""
        for driver in self._drivers.values():
            await driver.close()

    async def text(self) -> None:
        answer = await self._driver().ask(Question("n12 Tell me."))
        _same(answer.text, _said(await self.log.last(), 12))

    async def stream(self) -> None:
        pieces: list[str] = []
        answer = await collect(self._driver(), Question("n12 Tell me."), pieces)
        _same("".join(pieces), _said(await self.log.last(), 12))
        _same(answer.text, "".join(pieces))
        assert len(pieces) > 1, f"the answer came in {len(pieces)} piece"

    async def usage(self) -> None:
        for streamed in (False, True):
            question = Question("n9 Count this.")
            answer = await (collect(self._driver(), question) if streamed else self._driver().ask(question))
            counted = (await self.log.last())["usage"]
            kind = "streamed" if streamed else "whole"
            assert counted is not None, f"{kind}: the provider was not asked for a count"
            _same(answer.usage, (counted["input_tokens"], counted["output_tokens"]), kind)

    async def tools(self) -> None:
        await self._use_tools("get_weather")

    async def parallel_tools(self) -> None:
        await self._use_tools("get_weather", "get_time")

    async def _use_tools(self, *names: str) -> None:
        used: list[tuple[str, str]] = []

        def tool(name: str) -> Tool:
            def run(place: str) -> str:
                used.append((name, place))
                return f"{name}: eleven"

            return Tool(name, f"Call {name} for a place.", run)

        text = "tool-call How is it in Oslo?"
        if "tools" in self._refuses:
            await self._fails(self._driver().use_tools(text, [tool(name) for name in names]), 400)
            return
        answer = await self._driver().use_tools(text, [tool(name) for name in names])
        _same(sorted(used), sorted((name, text) for name in names), "the calls")
        _same(answer.text, _said(await self.log.last(), 20))
        _same(len(await self.log.rows()), 2, "calls of the provider")

    async def structured(self) -> None:
        if "structured" in self._refuses:
            await self._fails(self._driver().parse("json Name a city."), 400)
            return
        found = await self._driver().parse("json Name a city.")
        _same(found, {"city": (await self.log.last())["salt"], "people": 7, "capital": True})

    async def image(self) -> None:
        question = Question("n5 What is this?", image=True)
        if "image" in self._refuses:
            await self._fails(self._driver().ask(question), 400)
            _same(await self.log.rows(), [], "the provider's calls")
            return
        answer = await self._driver().ask(question)
        _same(answer.text, _said(await self.log.last(), 5))  # that it arrived is looked up at the provider's

    async def unauthorized(self) -> None:
        code = "authentication_error" if self._messages else "invalid_api_key"
        await self._fails_twice(replace(self._settings, key="sk-wrong"), 401, code)

    async def unknown_model(self) -> None:
        code = "not_found_error" if self._messages else "model_not_found"
        await self._fails_twice(replace(self._settings, model="no-such-model"), 404, code)

    async def _fails_twice(self, settings: Settings, status: int, code: str) -> None:
        driver = self._driver(settings)
        await self._fails(driver.ask(Question("n3 Hello.")), status, code)
        await self._fails(collect(driver, Question("n3 Hello.")), status, code)

    async def busy(self) -> None:
        code = "rate_limit_error" if self._messages else "rate_limit_exceeded"
        failure = await self._fails(self._driver().ask(Question("status-429 Hello.")), 429, code)
        if self._class.tells_retry_after:
            _same(failure.retry_after, "2", "retry-after")

    async def bad_request(self) -> None:
        code = "invalid_request_error" if self._messages else None
        await self._fails(self._driver().ask(Question("status-400 Hello.")), 400, code)

    async def too_long(self) -> None:
        code = "invalid_request_error" if self._messages else "context_length_exceeded"
        await self._fails(self._driver().ask(Question("context-length Hello.")), 400, code)

    async def cancel(self) -> None:
        driver = self._driver()
        seen: list[str] = []
        enough = asyncio.Event()

        async def read() -> None:
            async with aclosing(driver.stream(Question("n100-d20 Go on."))) as stream:
                async for piece in stream:
                    seen.append("" if isinstance(piece, Answer) else piece)
                    if len(seen) == 3:
                        enough.set()
                    await asyncio.sleep(0)  # where a client that blocks can be left

        task = asyncio.create_task(read())
        await _first(task, enough.wait())
        await self._left(task)

    async def cancel_whole(self) -> None:
        task = asyncio.create_task(self._driver().ask(Question("n100-d20 Go on.")))
        await _first(task, self.log.arrived())
        await self._left(task)

    async def stop(self) -> None:
        driver = self._driver()
        async with aclosing(driver.stream(Question("endless-d20 Go on."))) as stream:
            await anext(stream)
            stopped = time.time()
            _same(await driver.stop(driver.answer_id), "cancelled", "the status")
        await self._closed_since(stopped)

    async def models(self) -> None:
        names = await self._driver().models()
        assert any(name.endswith(self._settings.model) for name in names), f"the models are {names}"

    async def count(self) -> None:
        short, long = [await self._driver().count("Tell me. " * times) for times in (1, 40)]
        assert 0 < short < long, f"the counts are {short} and {long}"

    async def _left(self, task: asyncio.Task[Any]) -> None:
        """Leave a request; a Responses answer goes on, any other's provider is told at once."""
        left = time.time()
        while not task.done():  # Python 3.11 loses a cancellation that meets the very end of a wait
            task.cancel()
            await asyncio.wait([task], timeout=CLOSED_S)
        assert task.cancelled(), f"the client did not stop: {task.exception() or task.result()!r}"
        await self._let_go(left)

    async def _let_go(self, left: float) -> None:
        if self._class.dialect == "responses":
            await asyncio.sleep(left + CLOSED_S + 0.05 - time.time())
            outcome = (await self.log.last())["outcome"]
            if outcome == "finished":
                raise Late("the answer was over before its reader had left")
            _same(outcome, "open", "an answer that its reader has left")
            return
        await self._closed_since(left)

    async def _closed_since(self, left: float) -> None:
        row = await self.log.ended()
        _same(row["outcome"], "closed-by-client", "the provider's call")
        late = row["ended_at"] - left
        if late > CLOSED_S:
            raise Late(f"the provider's call was closed {late * 1000:.0f} ms after the client left")

    async def timeout(self) -> None:
        left = took = timeout_s = 0.0
        for timeout_s in PATIENCE_S:
            driver = self._driver(replace(self._settings, timeout_s=timeout_s))
            began = time.monotonic()
            try:
                await driver.ask(Question(f"n{int(400 * timeout_s)}-d20 Go on."))
            except driver.timeouts:
                left, took = time.time(), time.monotonic() - began
            else:
                raise AssertionError("the client waited")
            if await self.log.rows():
                break
        if took > timeout_s + 0.75:
            raise Late(f"the client waited {took:.2f} s")
        await self._let_go(left)

    async def _fails(self, asked: Awaitable[Any], status: int, code: str | None = None) -> Failure:
        try:
            answer = await asked
        except Exception as error:
            failure = self._driver().failure(error)
            if failure is None:
                raise
        else:
            raise AssertionError(f"no error, but {answer!r}")
        _same(failure.status, status, "status")
        if code is not None and (self._class.tells_code or failure.code is not None):
            _same(failure.code, code, "code")
        return failure


async def _first(task: asyncio.Task[Any], sign: Coroutine[Any, Any, Any]) -> None:
    """Wait for the sign that a request is under way. Raises: what the request raises when it ends before."""
    waiting = asyncio.create_task(sign)
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        raise AssertionError(f"the request was over before it could be left: {task.exception() or task.result()!r}")


def _said(row: Mapping[str, Any], tokens: int) -> str:
    return "".join(f"{row['salt']}:{number} " for number in range(tokens))


def _same(found: object, wanted: object, what: str = "it") -> None:
    if isinstance(found, str) and isinstance(wanted, str):
        found, wanted = found.strip(), wanted.strip()  # some clients trim what they return
    assert found == wanted, f"{what} is {found!r}, not {wanted!r}"
