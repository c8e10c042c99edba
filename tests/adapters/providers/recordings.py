"""Recorded answers of real providers, out of the shared test data."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.requires import require_shared_data

Json = dict[str, Any]


@dataclass
class Recorded:
    """One recorded answer, streamed (`sse`) or whole."""

    id: str
    api: str
    status: int
    sse: str | None
    json: Json


def recordings(apis: Collection[str]) -> list[Recorded]:
    """Return the answers of these APIs; skips the calling module or test where the data is absent."""
    root = require_shared_data("provider_streams")
    rows: list[Json] = json.loads((root / "index.json").read_text("utf-8"))
    return [answer for row in rows if row["api"] in apis for answer in _answers(root / row["file"], row["api"])]


def _answers(path: Path, api: str) -> list[Recorded]:
    """Return a file's answers; a count of tokens is none, only its refusal is."""
    answers: list[Recorded] = []
    for number, exchange in enumerate(json.loads(path.read_text("utf-8"))["interactions"]):
        response = exchange["response"]
        if "count_tokens" not in exchange["request"]["path"] or response["status"] != 200:
            name = f"{path.parent.name}-{path.stem}-{number}"
            answers.append(Recorded(name, api, response["status"], response.get("sse"), response.get("json", {})))
    return answers
