"""`docs/configuration.md` says what the settings are, `docs/providers.md` what each provider takes."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chatbackend.adapters.providers.codec import Codec
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.fitting import DROPPED, NEUTRAL
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.models import FunctionTool, ModelRequest

DOCS = Path(__file__).parent.parent / "docs"


ASKED: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["x"],
    "seed": 7,
    "top_logprobs": 2,
    "reasoning_effort": "high",
    "reasoning_summary": "auto",
    "verbosity": "low",
    "parallel_tool_calls": False,
    "user": "u",
}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_settings_and_the_families_make_of_them() -> None:
    made = generator()
    assert (DOCS / "configuration.md").read_text("utf-8") == made.configuration(), (
        "run .venv/bin/python docs/generate.py"
    )
    written = (DOCS / "providers.md").read_text("utf-8")
    assert written == made.providers(written), "run .venv/bin/python docs/generate.py"


def test_what_the_page_of_providers_says_of_a_field_is_what_happens() -> None:
    made = generator()
    codecs: dict[str, Codec] = made.columns()
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in made.providers_table().splitlines()
        if line.startswith("| `")
    ]
    assert {row[0] for row in rows} == ASKED.keys()
    for name, *cells in rows:
        for codec, cell in zip(codecs.values(), cells, strict=True):
            assert outcome(codec, name) == cell, (name, codec)


@pytest.mark.parametrize("names", [DROPPED, NEUTRAL.keys()])
def test_the_page_of_providers_names_what_may_be_left_out(names: Any) -> None:  # noqa: ANN401
    written = (DOCS / "providers.md").read_text("utf-8").partition("##")[2].partition("<!--")[0]
    for name in names:
        assert name in written or name in {"frequency_penalty", "presence_penalty", "logit_bias"}, name


def outcome(codec: Codec, name: str) -> str:
    """Return what becomes of a field, found by asking."""
    hello = Message("msg_1", "user", [InputText("x")])
    tools = [FunctionTool("f")] if name == "parallel_tool_calls" and codec.profile.accepts_tools else []
    thinks = codec.profile.thinking == "adaptive" and "reasoning_effort" not in codec.profile.refuses
    fields: dict[str, Any] = {"reasoning_effort": "low"} if name == "reasoning_summary" and thinks else {}
    plain = ModelRequest("m", [hello], tools=tools, **fields)
    asking = replace(plain, **{name: ASKED[name]})
    try:
        same = codec.request(asking).body == codec.request(plain).body
    except InvalidRequest as refused:
        assert refused.param == name
        return "refused"
    return "dropped" if same else "yes"
