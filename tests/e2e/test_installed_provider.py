"""A provider that a package of its own brings: installed beside us, named by an entry point, used like any other."""

import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import openai
import pytest

from tests.support import sdk
from tests.support.sdk import ask
from tests.support.server import PROGRAM, Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

MODULE = '''
"""A sixth provider: Chat Completions with a header of its own."""

from dataclasses import replace

from chatbackend.adapters.providers.family import Family
from chatbackend.adapters.providers.openai_chat import ChatCodec


class NimbusCodec(ChatCodec):
    def request(self, request):
        wire = super().request(request)
        return replace(wire, headers={**wire.headers, "x-nimbus": "1"})


NIMBUS = Family("nimbus", "NIMBUS", NimbusCodec)
'''


def install(folder: Path, target: str = "nimbus_provider:NIMBUS") -> dict[str, str]:
    """Install the distribution as an installer does; return the environment that finds it."""
    (folder / "nimbus_provider.py").write_text(MODULE)
    about = folder / "nimbus_provider-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nimbus-provider\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[chatbackend.providers]\nnimbus = {target}\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream, None]:
    async with Upstream() as upstream:
        yield upstream


async def test_an_installed_provider_answers_like_any_other(upstream: Upstream, tmp_path: Path) -> None:
    packages, place = tmp_path / "packages", tmp_path / "server"
    packages.mkdir()
    place.mkdir()
    settings = {
        "NIMBUS_ENDPOINT": upstream.url,
        "NIMBUS_API_KEY": "sk-nimbus",
        "NIMBUS_MODELS": "scripted-n5, scripted-json",
    }
    with Server(place, install(packages) | settings) as running:
        async with sdk.async_client(running) as client:
            listed = [model.id async for model in client.models.list()]
            assert {"nimbus/scripted-n5", "nimbus/scripted-json"} <= set(listed)
            said = await ask(client, "sse", model="nimbus/scripted-n5", input="x")
    [call] = upstream.calls
    assert said.response.output_text.startswith(call.salt)
    assert (call.header("x-nimbus"), call.header("authorization")) == ("1", "Bearer sk-nimbus")


def test_a_provider_that_is_installed_and_broken_stops_the_start_in_one_line(tmp_path: Path) -> None:
    environment = install(tmp_path, "nimbus_provider:RAIN") | {"NIMBUS_ENDPOINT": "http://127.0.0.1:9"}
    line = refused(tmp_path, environment)
    assert line.startswith("NIMBUS_ENDPOINT: the provider 'nimbus'")
    assert "RAIN" in line


def test_the_settings_of_an_installed_provider_are_checked_like_any_others(tmp_path: Path) -> None:
    line = refused(tmp_path, install(tmp_path) | {"NIMBUS_ENDPOINT": "nimbus.example"})
    assert line.startswith("NIMBUS_ENDPOINT is 'nimbus.example'")


@pytest.mark.parametrize("target", ["nimbus_provider:NimbusCodec", "nimbus_provider:NIMBUS"])
def test_what_is_no_family_or_calls_itself_otherwise_is_refused(tmp_path: Path, target: str) -> None:
    environment = install(tmp_path, target)
    name = tmp_path / "nimbus_provider-1.0.dist-info" / "entry_points.txt"
    name.write_text(name.read_text().replace("nimbus =", "cumulus ="))
    line = refused(tmp_path, environment | {"CUMULUS_ENDPOINT": "http://127.0.0.1:9"})
    assert line.startswith("CUMULUS_ENDPOINT: the provider 'cumulus'")


async def test_a_provider_whose_endpoint_is_not_set_is_not_even_imported(upstream: Upstream, tmp_path: Path) -> None:
    environment = install(tmp_path, "no_such_module:NIMBUS")
    with Server(tmp_path, environment | {"OTHER_ENDPOINT": "anything", "LLAMA31_ENDPOINT": upstream.url}) as running:
        async with sdk.async_client(running) as client:
            with pytest.raises(openai.NotFoundError):
                await ask(client, "json", model="nimbus/scripted", input="x")


def refused(folder: Path, environment: dict[str, str]) -> str:
    """Return the line with which a start is refused."""
    place = {"CHATBACKEND_DATA_DIR": str(folder / "data"), "CHATBACKEND_PORT": "0", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(PROGRAM), "serve"], env=environment | place, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    return line
