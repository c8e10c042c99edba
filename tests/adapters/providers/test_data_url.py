"""`data:` URLs and the types that file names say."""

import pytest

from chatbackend.adapters.providers.data_url import media_type_of, split_data_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("data:image/PNG;base64,aGk=", ("image/png", "aGk=")),
        ("data:text/plain;charset=utf-8;base64,aGk=", ("text/plain", "aGk=")),
        ("data:text/plain,hi", None),
        ("data:image/png;base64", None),
        ("https://x.y/z,w", None),
        ("aGk=", None),
    ],
)
def test_a_data_url_is_split_and_nothing_else_is_one(url: str, parts: tuple[str, str] | None) -> None:
    assert split_data_url(url) == parts


@pytest.mark.parametrize(
    ("name", "kind"), [("a.TXT", "text/plain"), ("a.pdf", "application/pdf"), ("a", "application/pdf")]
)
def test_a_name_says_a_type(name: str, kind: str) -> None:
    assert media_type_of(name) == kind
