"""A passage that a search found, with its exact place in its file."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Passage:
    """`text == file_text[start:end]` in code points; `page` counts from 1, None without pages; `score` in 0..1."""

    file_id: str
    filename: str
    start: int
    end: int
    text: str
    score: float
    page: int | None = None
    header: str = ""
    attributes: dict[str, str | float | bool] = field(default_factory=dict[str, str | float | bool])
