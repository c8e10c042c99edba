"""Skip a test whose component is absent, or fail it where every component is demanded."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

VARIABLE = "CHATBACKEND_TEST_REQUIRE"
ROOT = Path(__file__).parents[2]


def require(component: str, reason: str) -> NoReturn:
    """Stop a test because `component` is absent, for `reason`, which says how to get it.

    Skips, or fails when CHATBACKEND_TEST_REQUIRE is `all` or names the component (comma-separated).
    Usable in a test, in a fixture and at the top of a module.
    """
    message = f"{component} is absent: {reason}"
    demanded = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")}
    if demanded & {"all", component}:
        pytest.fail(f"{message} ({VARIABLE} demands it)", pytrace=False)
    pytest.skip(message, allow_module_level=True)


def require_program(name: str, package: str) -> str:
    """Return the path of the program `name`, which the system's `package` brings."""
    return shutil.which(name) or require(name, f"install {package}")


def require_shared_data(*parts: str) -> Path:
    """Return a path in the shared test data, which lies beside the repository and not in it."""
    path = ROOT.parent.joinpath("shared", "data", *parts)
    return path if path.exists() else require("shared data", f"{'/'.join(parts)} is not in ../shared/data")


def require_node_module(name: str) -> Path:
    """Return the folder of the npm package `name`, which `make test-servers` installs."""
    path = ROOT / "tests" / "npm" / "node_modules" / name
    return path if path.is_dir() else require(name, "run 'make test-servers'")
