"""Makes small real documents, and hostile ones, for the tests of validation, parsing and upload."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence

import docx
import fpdf

_OFFICE = "http://schemas.openxmlformats.org"
WORD_NAMESPACE = f"{_OFFICE}/wordprocessingml/2006/main"
CONTENT_TYPES = (
    f'<Types xmlns="{_OFFICE}/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
RELATIONSHIPS = (
    f'<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship Id="r1" '
    f'Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)


def pdf(pages: Sequence[Sequence[tuple[float, str]]], *, title: str = "", password: str = "") -> bytes:
    """Return a PDF whose pages hold paragraphs, each a letter size in points and its words (Latin-1)."""
    document = fpdf.FPDF()
    if title:
        document.set_title(title)
    if password:
        document.set_encryption(owner_password="owner-" + password, user_password=password)
    for page in pages:
        document.add_page()
        for size, text in page:
            document.set_font("helvetica", size=size)
            document.multi_cell(0, size / 2, text, new_x="LMARGIN", new_y="NEXT")
    return bytes(document.output())


def raw_pdf(objects: Sequence[bytes]) -> bytes:
    """Return a PDF of these numbered objects, the first of which is the catalog; for what no writer would write."""
    out = bytearray(b"%PDF-1.7\n")
    offsets: list[int] = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out) + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def page_pdf(
    content: bytes, *, font: bytes = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", more: bytes = b""
) -> bytes:
    """Return a PDF of one page with this content stream; `more` is a further object (number 6) for the font."""
    stream = zlib.compress(content)
    return raw_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
            b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream),
            font,
            *([more] if more else []),
        ]
    )


def unicode_pdf(words: str) -> bytes:
    """Return a PDF of one line in any characters, by a font that says what each of its glyphs means."""
    mapping = "\n".join(f"<{index:04X}> <{char.encode('utf-16-be').hex()}>" for index, char in enumerate(words, 1))
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /x def /CMapType 2 def "
        f"1 begincodespacerange <0000> <FFFF> endcodespacerange {len(words)} beginbfchar\n{mapping}\nendbfchar "
        "endcmap end end"
    ).encode()
    font = (
        b"<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/ToUnicode 6 0 R/DescendantFonts"
        b"[<</Type/Font/Subtype/CIDFontType2/BaseFont/X/DW 600"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>>>]>>"
    )
    shown = "".join(f"{index:04X}" for index in range(1, len(words) + 1)).encode()
    content = b"BT /F1 12 Tf 72 700 Td <%s> Tj ET" % shown
    return page_pdf(content, font=font, more=b"<</Length %d>>stream\n%s\nendstream" % (len(cmap), cmap))


def word(paragraphs: Sequence[tuple[str, str]], *, title: str = "", table: Sequence[Sequence[str]] = ()) -> bytes:
    """Return a DOCX of paragraphs, each a style's name and its words, and a table after them."""
    document = docx.Document()
    document.core_properties.title = title
    for style, text in paragraphs:
        document.add_paragraph(text, style=style)
    if table:
        grid = document.add_table(rows=len(table), cols=len(table[0]))
        for row, cells in zip(grid.rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_of(body: str, *, prolog: str = "", **parts: str) -> bytes:
    """Return a DOCX with this XML as its body; `parts` are further parts of the folder `word`, by stem."""
    main = f'{prolog}<w:document xmlns:w="{WORD_NAMESPACE}"><w:body>{body}</w:body></w:document>'
    files = {"[Content_Types].xml": CONTENT_TYPES, "_rels/.rels": RELATIONSHIPS, "word/document.xml": main}
    return zipped(files | {f"word/{stem}.xml": xml for stem, xml in parts.items()})


def zipped(files: dict[str, str] | dict[str, bytes], *, stored: bool = False) -> bytes:
    """Return a ZIP of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as container:
        for name, content in files.items():
            container.writestr(name, content)
    return out.getvalue()


def crowded_zip(names: Sequence[bytes], content: bytes, *, counted: int | None = None) -> bytes:
    """Return a ZIP in which every name stands for the same bytes; `counted` is what its end record claims."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(content) + compressor.flush()
    sizes = struct.pack("<3L", zlib.crc32(content), len(data), len(content))
    local = struct.pack("<4s5H", b"PK\x03\x04", 20, 0, 8, 0, 33) + sizes + struct.pack("<2H", len(names[0]), 0)
    out = bytearray(local + names[0] + data)
    directory = len(out)
    for name in names:
        out += struct.pack("<4s6H", b"PK\x01\x02", 20, 20, 0, 8, 0, 33) + sizes
        out += struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, 0) + name
    shown = min(0xFFFF, len(names) if counted is None else counted)
    return bytes(out) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, shown, shown, len(out) - directory, directory, 0)


def image(kind: str) -> bytes:
    """Return the first bytes of a real image of this kind, enough to be known by."""
    return {
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89",
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
        "gif": b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0",
        "webp": b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0",
    }[kind]


def compound_file(*streams: str) -> bytes:
    """Return the head of an OLE compound file with these stream names: old Office, or an encrypted document."""
    directory = b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", *streams))
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0") + directory
