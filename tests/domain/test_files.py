"""What extensions promise."""

import pytest

from chatbackend.domain.files import (
    FORMATS,
    FileRejected,
    extension,
    parsed_extensions,
)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.PDF", ".pdf"),
        ("archive.tar.gz", ".gz"),
        ("../../etc/passwd.txt", ".txt"),
        ("C:\\docs\\report.docx", ".docx"),
        ("folder.d/name", ""),
        (".bashrc", ""),
        ("name.", "."),
        ("", ""),
    ],
)
def test_the_extension_is_that_of_the_last_path_component(filename: str, expected: str) -> None:
    assert extension(filename) == expected


def test_every_format_declares_a_canonical_media_type() -> None:
    assert all("/" in known.media_types[0] for known in FORMATS.values())
    assert FORMATS[".md"].media_types[0] == "text/markdown"


def test_images_are_for_vision_and_their_text_is_not_read() -> None:
    assert {name for name, known in FORMATS.items() if known.purpose == "vision"} == {
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
    }
    assert not {".png", ".xlsx"} & set(parsed_extensions())
    assert {".pdf", ".docx", ".html", ".md", ".txt", ".py"} <= set(parsed_extensions())


def test_a_refusal_carries_a_code_and_its_words() -> None:
    error = FileRejected("no_text", "Nothing to read.")
    assert (error.code, error.message, str(error)) == ("no_text", "Nothing to read.", "Nothing to read.")
