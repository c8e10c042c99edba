"""A passage that a search found, with its exact place in its file."""

from dataclasses import dataclass, field

from chatbackend.domain.documents import Page


@dataclass(frozen=True, slots=True)
class Passage:
    """`text == file_text[start:end]` in code points; `page` is where it starts, None without pages; `score` in 0..1.

    `pages` are the pages that it touches, for the place of a sentence inside it.
    """

    file_id: str
    filename: str
    start: int
    end: int
    text: str
    score: float
    page: int | None = None
    header: str = ""
    pages: tuple[Page, ...] = ()
    attributes: dict[str, str | float | bool] = field(default_factory=dict[str, str | float | bool])

    def page_at(self, offset: int) -> int | None:
        """Return the number of the page that holds the code point at `offset` of the file's text."""
        return next((page.number for page in self.pages if page.start <= offset < page.end), self.page)
