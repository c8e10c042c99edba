"""The words of HTML pages, block by block."""

from pathlib import Path

import pytest

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import html
from chatbackend.infra.parsing.limits import ParseLimits


def parse(tmp_path: Path, source: str | bytes, limits: ParseLimits | None = None) -> Document:
    path = tmp_path / "file"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    return html.parse(path, limits or ParseLimits())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<p>one<p>two", "one\n\ntwo"),
        ("one<br>two", "one\ntwo"),
        ("<div>one</div><div>two</div>", "one\ntwo"),
        ("<ul><li>one<li>two <b>bold</b></ul>after", "one\ntwo bold\n\nafter"),
        ("  many \n\t spaces&nbsp;and  <i>in</i>line ", "many spaces and inline"),
        ("a<b>b</b>c", "abc"),
        ("<table><tr><th>A<th>B<tr><td>1<td>2</table>", "A | B\n1 | 2"),
        ("<pre>  def f():\n      pass\n</pre>after", "  def f():\n      pass\n\nafter"),
        ("<p>see<script>alert('x')</script><style>p{}</style><!-- no --> this", "see this"),
        ("the <noscript>turn it on</noscript><template>t</template><svg><text>s</text></svg>page", "the page"),
        ("<head><title>T</title></head><body>page", "page"),
        ("&lt;tag&gt; &amp; &#x1F600; &euro;", "<tag> & 😀 €"),
        ("<p>in <a href='x'>a link</a>, <code>code</code>.", "in a link, code."),
        ("<p>&#0;&#xD800;x", "\ufffd\ufffdx"),
    ],
)
def test_blocks_become_lines_and_invisible_words_go(tmp_path: Path, source: str, expected: str) -> None:
    assert parse(tmp_path, source).text == expected


def test_headings_are_in_place_and_on_one_line(tmp_path: Path) -> None:
    document = parse(tmp_path, "<h1>Great <br><em>Title</em></h1><p>words<h2><div>Sub</div></h2>words<h3></h3>")
    assert document.text == "Great Title\n\nwords\n\nSub\n\nwords"
    assert [(heading.level, document.text[heading.start : heading.end]) for heading in document.headings] == [
        (1, "Great Title"),
        (2, "Sub"),
    ]


def test_the_title_is_that_of_the_head(tmp_path: Path) -> None:
    assert parse(tmp_path, "<title> The\n &amp; title</title><p>x").title == "The & title"
    assert parse(tmp_path, "<p>x").title is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("<meta charset=windows-1251><p>Привет".encode("cp1251"), "Привет"),
        ("<meta http-equiv=x content='text/html; charset=Shift_JIS'><p>日本語".encode("shift_jis"), "日本語"),
        ("<meta charset=iso-8859-1><p>“5 €”".encode("cp1252"), "“5 €”"),
        ("<meta charset=utf-16><p>Grüße".encode(), "Grüße"),
        ("<meta charset=punycode><p>Grüße".encode(), "Grüße"),
        ("<meta charset=unheard-of><p>Grüße".encode(), "Grüße"),
        ("<meta charset=ascii><p>Grüße".encode("utf-16"), "Grüße"),
        ("<meta charset=gb2312><p>Grüße".encode("cp1252"), "Grüße"),
    ],
)
def test_the_encoding_is_the_declared_one_where_it_fits(tmp_path: Path, data: bytes, expected: str) -> None:
    assert parse(tmp_path, data).text == expected


def test_a_page_nested_too_deep_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(FileRejected, match="nested") as refused:
        parse(tmp_path, "<div>" * 50_000)
    assert refused.value.code == "too_complex"


@pytest.mark.parametrize("comment", ["<!-->", "<!--->", "<!-- x -->", "<!-- x --!>", "<!---->"])
def test_a_comment_hides_no_depth_however_it_ends(tmp_path: Path, comment: str) -> None:
    with pytest.raises(FileRejected, match="nested"):
        parse(tmp_path, comment + "<div>" * 50_000)


@pytest.mark.parametrize(
    "source",
    [
        "<p>x" * 50_000,
        "<li>x" * 50_000,
        "<tr><td>x" * 50_000,
        "<br>x" * 50_000,
        "<div>x</div>" * 50_000,
        "<img>x" * 50_000,
        "<script>if (a < b) { '" + "<div>" * 50_000 + "' }</script>x",
        "<!-- " + "<div>" * 50_000 + "-->x",
        "</div>" * 50_000 + "x",
    ],
)
def test_a_long_page_is_not_a_deep_one(tmp_path: Path, source: str) -> None:
    assert "x" in parse(tmp_path, source).text


def test_a_page_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, "<html><head><title>t</title></head><body><img src=x></body></html>")
    assert refused.value.code == "no_text"


def test_more_text_than_allowed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, "<p>words" * 10, ParseLimits(max_text_chars=50))
    assert refused.value.code == "too_complex"
