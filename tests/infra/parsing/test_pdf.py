"""The text of PDF pages, in place, against a second and independent reader."""

import io
import random
from pathlib import Path

import pypdf
import pytest

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import pdf
from chatbackend.infra.parsing.limits import ParseLimits
from tests.support import documents

WORDS = (
    "the of and retrieval page number offset well-known co-operation naïve café (parenthesis) [bracket] 3.14 50% "
    "e.g. o'clock «quoted» £1,000 A/B test@example.org x=y; end. Über größer"
)


def parse(tmp_path: Path, data: bytes, limits: ParseLimits | None = None) -> Document:
    path = tmp_path / "file"
    path.write_bytes(data)
    return pdf.parse(path, limits or ParseLimits())


def page_texts(document: Document) -> list[str]:
    return [document.text[page.start : page.end] for page in document.pages]


def random_pages(seed: int, count: int) -> list[list[tuple[float, str]]]:
    chance = random.Random(seed)  # noqa: S311 - made-up text
    vocabulary = WORDS.split()
    return [
        [
            (chance.choice([8, 10, 11.5, 16, 24]), " ".join(chance.choices(vocabulary, k=chance.randint(1, 120))))
            for _ in range(chance.randint(0, 5))
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_every_page_has_the_words_that_another_reader_finds(tmp_path: Path, seed: int) -> None:
    data = documents.pdf([[(12, "first page")], *random_pages(seed, 7)])
    other = [page.extract_text().split() for page in pypdf.PdfReader(io.BytesIO(data)).pages]
    assert [text.split() for text in page_texts(parse(tmp_path, data))] == other


@pytest.mark.parametrize("seed", range(3))
def test_pages_tile_the_text(tmp_path: Path, seed: int) -> None:
    document = parse(tmp_path, documents.pdf([[], [(12, "words")], *random_pages(seed, 4), []]))
    assert "".join(page_texts(document)) == document.text
    assert [page.number for page in document.pages] == list(range(1, 8))
    assert document.page_at(document.text.index("words")) == 2


def test_a_quote_is_found_on_its_page(tmp_path: Path) -> None:
    document = parse(tmp_path, documents.pdf([[(12, f"The answer on page {n} is {n * n}.")] for n in range(1, 30)]))
    start = document.text.index("The answer on page 23 is 529.")
    assert document.page_at(start) == 23


def test_a_hyphen_at_the_end_of_a_line_stays_where_it_is_printed(tmp_path: Path) -> None:
    document = parse(tmp_path, documents.pdf([[(12, "some infor-\nmation here")]]))
    assert document.text == "some infor-\nmation here"


def test_line_ends_are_plain(tmp_path: Path) -> None:
    assert parse(tmp_path, documents.pdf([[(12, "one\ntwo")], [(12, "three")]])).text == "one\ntwo\n\nthree"


def test_headings_are_lines_in_larger_letters_by_rank_of_size(tmp_path: Path) -> None:
    body = "Plain words of the body. " * 40
    pages = [[(24, "Great Title"), (11, body), (16, "First part"), (11, body)], [(16, "Second part"), (11, body)]]
    document = parse(tmp_path, documents.pdf(pages))
    assert [(heading.level, document.text[heading.start : heading.end]) for heading in document.headings] == [
        (1, "Great Title"),
        (2, "First part"),
        (2, "Second part"),
    ]


def test_a_heading_over_two_lines_is_one(tmp_path: Path) -> None:
    document = parse(tmp_path, documents.pdf([[(20, "A heading of\ntwo lines"), (10, "Plain words. " * 40)]]))
    assert [document.text[heading.start : heading.end] for heading in document.headings] == ["A heading of\ntwo lines"]


def test_letters_scaled_by_the_text_matrix_count_by_their_printed_size(tmp_path: Path) -> None:
    lines = [b"BT /F1 1 Tf 30 0 0 30 72 700 Tm (Scaled Title) Tj ET"]
    lines += [b"BT /F1 1 Tf 10 0 0 10 72 %d Tm (plain words of the body) Tj ET" % (650 - 20 * row) for row in range(9)]
    document = parse(tmp_path, documents.page_pdf(b"\n".join(lines)))
    assert [document.text[heading.start : heading.end] for heading in document.headings] == ["Scaled Title"]


@pytest.mark.parametrize("words", ["Zażółć gęślą jaźń", "Ελληνικά", "Дом и мир", "日本語", "smile 😀 after", "𝔘𝔫𝔦"])
def test_any_characters_are_read(tmp_path: Path, words: str) -> None:
    document = parse(tmp_path, documents.unicode_pdf(words))
    assert document.text == words
    assert document.pages[0].end == len(words)


def test_the_title_is_that_of_the_properties(tmp_path: Path) -> None:
    assert parse(tmp_path, documents.pdf([[(12, "x")]], title=" The  Title\n")).title == "The Title"
    assert parse(tmp_path, documents.pdf([[(12, "x")]])).title is None


def test_an_owner_password_alone_does_not_hinder_reading(tmp_path: Path) -> None:
    data = documents.pdf([[(12, "open words")]])
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(user_password="", owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    assert parse(tmp_path, out.getvalue()).text == "open words"


def test_a_scan_is_refused_with_a_word_about_scans(tmp_path: Path) -> None:
    with pytest.raises(FileRejected, match="scan") as refused:
        parse(tmp_path, documents.pdf([[], []]))
    assert refused.value.code == "no_text"


@pytest.mark.parametrize("limits", [ParseLimits(max_pages=2), ParseLimits(max_text_chars=20)])
def test_too_many_pages_or_characters_are_refused(tmp_path: Path, limits: ParseLimits) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, documents.pdf([[(12, "ten chars.")]] * 3), limits)
    assert refused.value.code == "too_complex"


def test_headings_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    pages = [[(20, f"Heading {n}"), (10, "Plain words. " * 20)] for n in range(5)]
    assert len(parse(tmp_path, documents.pdf(pages), ParseLimits(max_headings=3)).headings) == 3
