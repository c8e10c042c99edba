"""Run the checks of a client program: `run(Driver, ...)`, a driver a dialect.

Configured by the environment: CLIENT_URL (of the server, without a path), CLIENT_KEY, CLIENT_MODEL, CLIENT_REFUSES
(what the model does not take), CLIENT_CHECKS, CLIENT_UPSTREAM (whose log is read). Prints a JSON line a check.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence

from tests.clients.programs.checks import Checks, Late
from tests.clients.programs.driver import Driver, Settings
from tests.clients.programs.upstream_log import Log

CHECK_S = 20.0
TRIES = 3  # of a check that was only late


def _of(dialect: str, refuses: Sequence[str]) -> frozenset[str]:
    """Return what is refused in a dialect: `image` is in all of them, `chat.image` in one."""
    return frozenset(name.removeprefix(f"{dialect}.") for name in refuses)


async def _main(drivers: Sequence[type[Driver]]) -> None:
    env = os.environ
    results, sys.stdout = sys.stdout, sys.stderr  # what a client prints is no result
    settings = Settings(env["CLIENT_URL"], env["CLIENT_KEY"], env["CLIENT_MODEL"])
    refuses = env["CLIENT_REFUSES"].split(",")
    by_dialect = {driver.dialect: Checks(driver, settings, _of(driver.dialect, refuses)) for driver in drivers}
    since = until = len(await Log(env["CLIENT_UPSTREAM"]).rows())
    for name in env["CLIENT_CHECKS"].split(","):
        dialect, _, check = name.partition(".")
        checks = by_dialect[dialect]
        problem: Exception | None = Late()
        tries = 0
        while isinstance(problem, Late) and tries < TRIES:
            since, tries = until, tries + 1
            checks.log = Log(env["CLIENT_UPSTREAM"], since)
            problem = await _problem(getattr(checks, check.replace("-", "_")))
            until = since + len(await checks.log.rows())
        detail = _told(problem)
        results.write(json.dumps({"name": name, "detail": detail, "calls": [since, until]}) + "\n")
    for checks in by_dialect.values():
        await checks.close()


async def _problem(check: Callable[[], Awaitable[None]]) -> Exception | None:
    """Run a check; return what is wrong."""
    try:
        await asyncio.wait_for(check(), CHECK_S)
    except Exception as error:  # whatever goes wrong in a client is that check's result
        return error
    return None


def _told(problem: Exception | None) -> str:
    if problem is None or isinstance(problem, AssertionError):
        return str(problem or "")
    return "".join(traceback.format_exception(problem, limit=-3))


def run(*drivers: type[Driver]) -> None:
    """Run the checks that CLIENT_CHECKS names on the drivers."""
    asyncio.run(_main(drivers))
