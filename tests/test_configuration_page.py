"""`docs/configuration.md` says what the settings are."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_what_the_settings_make_of_it() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "configuration.md").read_text("utf-8")
    assert written == module.configuration(), "run .venv/bin/python docs/generate.py"
