"""The words of Word documents, against the document library that made them."""

import io
from pathlib import Path

import docx as office
import pytest

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import docx
from chatbackend.infra.parsing.limits import ParseLimits
from tests.support import documents


def parse(tmp_path: Path, data: bytes, limits: ParseLimits | None = None) -> Document:
    path = tmp_path / "file"
    path.write_bytes(data)
    return docx.parse(path, limits or ParseLimits())


def body(tmp_path: Path, xml: str) -> str:
    return parse(tmp_path, documents.word_of(xml)).text


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{run(text)}</w:p>"


def test_paragraphs_headings_and_title_are_those_of_the_document(tmp_path: Path) -> None:
    data = documents.word(
        [
            ("Title", "The document"),
            ("Heading 1", "First"),
            ("Normal", "Words of the first part."),
            ("Heading 2", "Within"),
            ("List Bullet", "one"),
            ("Normal", ""),
            ("Normal", "Last words: Grüße 😀."),
        ],
        title="Properties title",
    )
    document = parse(tmp_path, data)
    library = [paragraph.text for paragraph in office.Document(io.BytesIO(data)).paragraphs if paragraph.text]
    assert document.text.split("\n\n") == library
    assert document.title == "Properties title"
    assert [(heading.level, document.text[heading.start : heading.end]) for heading in document.headings] == [
        (1, "The document"),
        (1, "First"),
        (2, "Within"),
    ]


def test_a_table_is_a_line_for_every_row(tmp_path: Path) -> None:
    data = documents.word([("Normal", "before")], table=[["Name", "Size"], ["a  b", "1\n2"], ["", ""]])
    assert parse(tmp_path, data).text == "before\n\nName | Size\na b | 1 2"


def test_a_table_in_a_cell_is_part_of_the_cell(tmp_path: Path) -> None:
    inner = f"<w:tbl><w:tr><w:tc>{paragraph('x')}</w:tc><w:tc>{paragraph('y')}</w:tc></w:tr></w:tbl>"
    outer = f"<w:tbl><w:tr><w:tc>{paragraph('a')}{inner}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr></w:tbl>"
    assert body(tmp_path, outer + paragraph("after")) == "a x | y | b\n\nafter"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/></w:r></w:p>", "a\tb\nc-"),
        ("<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr>" + run("a") + "</w:p>", "a"),
        (f"<w:p><w:hyperlink>{run('link')}</w:hyperlink>{run(' after')}</w:p>", "link after"),
        (f"<w:p><w:ins>{run('new')}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>", "new"),
        (f"<w:p><w:moveFrom>{run('gone')}</w:moveFrom>{run('here')}</w:p>", "here"),
        (f"<w:sdt><w:sdtContent>{paragraph('controlled')}</w:sdtContent></w:sdt>", "controlled"),
        ("<w:p><w:r><w:instrText>PAGE</w:instrText></w:r>" + run("7") + "</w:p>", "7"),
        (
            "<w:p><w:r><w:drawing><w:txbxContent>" + paragraph("boxed") + "</w:txbxContent></w:drawing></w:r>"
            + run("around")
            + "</w:p>",
            "boxed\n\naround",
        ),
        (
            '<w:p><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
            f"<mc:Choice>{run('once')}</mc:Choice><mc:Fallback>{run('twice')}</mc:Fallback></mc:AlternateContent></w:p>",
            "once",
        ),
        (
            '<w:p><m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math">'
            "<m:r><m:t>x+1</m:t></m:r></m:oMath></w:p>",
            "x+1",
        ),
        (paragraph("one", "<w:numPr/>") + paragraph("two", "<w:numPr/>") + paragraph("end"), "one\ntwo\n\nend"),
        ("<w:t>stray</w:t><w:tc/><w:tab/>" + paragraph("x"), "x"),
    ],
)  # fmt: skip
def test_the_body_reads_as_a_reader_sees_it(tmp_path: Path, xml: str, expected: str) -> None:
    assert body(tmp_path, xml) == expected


def test_headings_follow_styles_they_are_based_on_and_outline_levels(tmp_path: Path) -> None:
    styles = (
        f'<w:styles xmlns:w="{documents.WORD_NAMESPACE}">'
        '<w:style w:styleId="b1"><w:name w:val="heading 3"/></w:style>'
        '<w:style w:styleId="mine"><w:name w:val="Mine"/><w:basedOn w:val="b1"/></w:style>'
        '<w:style w:styleId="ring1"><w:basedOn w:val="ring2"/></w:style>'
        '<w:style w:styleId="ring2"><w:basedOn w:val="ring1"/></w:style>'
        '<w:style w:styleId="out"><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
        "</w:styles>"
    )
    xml = "".join(
        paragraph(text, properties)
        for text, properties in (
            ("three", '<w:pStyle w:val="mine"/>'),
            ("two", '<w:pStyle w:val="out"/>'),
            ("none", '<w:pStyle w:val="ring1"/>'),
            ("five", '<w:outlineLvl w:val="4"/>'),
            ("body", '<w:outlineLvl w:val="9"/>'),
        )
    )
    document = parse(tmp_path, documents.word_of(xml, styles=styles))
    assert [(heading.level, document.text[heading.start : heading.end]) for heading in document.headings] == [
        (3, "three"),
        (2, "two"),
        (5, "five"),
    ]


def test_the_strict_kind_of_document_is_read(tmp_path: Path) -> None:
    main = (
        '<w:document xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"><w:body>'
        + paragraph("strict")
        + "</w:body></w:document>"
    )
    data = documents.zipped({"_rels/.rels": documents.RELATIONSHIPS, "word/document.xml": main})
    assert parse(tmp_path, data).text == "strict"


def test_depth_costs_nothing(tmp_path: Path) -> None:
    assert body(tmp_path, "<w:sdt>" * 20_000 + paragraph("deep") + "</w:sdt>" * 20_000) == "deep"


def test_another_office_file_is_told_apart(tmp_path: Path) -> None:
    data = documents.zipped({"_rels/.rels": documents.RELATIONSHIPS, "word/document.xml": "<workbook>x</workbook>"})
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, data)
    assert refused.value.code == "type_mismatch"


@pytest.mark.parametrize(
    "files",
    [
        {"a.txt": "no package"},
        {"_rels/.rels": "<Relationships/>"},
        {"_rels/.rels": documents.RELATIONSHIPS},
        {"_rels/.rels": documents.RELATIONSHIPS, "word/document.xml": "<not closed"},
        {"_rels/.rels": documents.RELATIONSHIPS, "word/document.xml": ""},
    ],
)
def test_a_package_without_a_readable_main_part_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, documents.zipped(files))
    assert refused.value.code == "invalid_file"


@pytest.mark.parametrize(
    "limits",
    [
        ParseLimits(max_zip_entries=2),
        ParseLimits(max_unzipped_bytes=1_000, max_unzip_ratio=1_000),
        ParseLimits(max_unzip_ratio=10),
    ],
)
def test_every_limit_of_a_container_holds_by_itself(tmp_path: Path, limits: ParseLimits) -> None:
    data = documents.word_of(paragraph("words " * 200_000))
    assert parse(tmp_path, data, ParseLimits(max_unzip_ratio=1_000)).text
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, data, limits)
    assert refused.value.code == "too_complex"


def test_a_document_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, documents.word([("Normal", " ")]))
    assert refused.value.code == "no_text"


def test_more_text_than_allowed_is_refused_on_the_way(tmp_path: Path) -> None:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, documents.word([("Normal", "words")] * 20), ParseLimits(max_text_chars=50))
    assert refused.value.code == "too_complex"
