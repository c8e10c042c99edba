"""A corpus of hostile files: each is refused in kind, costs the parent nothing, and leaves no process behind."""

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pypdf
import pytest

from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from tests.support import documents
from tests.support.processes import children

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="limits and processes as Linux has them"),
]

LIMITS = ParseLimits(memory_bytes=384 << 20, cpu_s=3, wall_s=30)
MEGABYTE = 1 << 20


def docx_bomb() -> bytes:
    """145 KB that unpack to 560 MB: four entries of the same bytes."""
    return documents.crowded_zip([b"word/document.xml", b"a", b"b", b"c"], bytes(140 * MEGABYTE))


def dense_docx() -> bytes:
    """Under the limit of size, but of a ratio that no document has."""
    return documents.zipped({"_rels/.rels": documents.RELATIONSHIPS, "word/document.xml": " " * (50 * MEGABYTE)})


def many_entries(counted: int | None = None) -> Callable[[], bytes]:
    return lambda: documents.crowded_zip([b"word/%d" % n for n in range(100_000)], b"x", counted=counted)


def encrypted_zip() -> bytes:
    data = bytearray(documents.word_of("<w:p/>"))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged_part() -> bytes:
    data = bytearray(documents.word([("Normal", "words " * 2000)]))
    start = data.index(b"word/document.xml")
    data[start + 60 : start + 100] = bytes(40)
    return bytes(data)


def entity_docx(declaration: str) -> bytes:
    return documents.word_of("<w:p><w:r><w:t>&e;</w:t></w:r></w:p>", prolog=f"<!DOCTYPE w:document [{declaration}]>")


def laughing_docx() -> bytes:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return entity_docx(f'<!ENTITY e0 "ha">{entities}<!ENTITY e "&e9;">')


def encrypted_pdf() -> bytes:
    return documents.pdf([[(12, "secret words")]], password="key")


def aes_pdf() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(documents.pdf([[(12, "secret words")]])))
    writer.encrypt(user_password="key", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def truncated_pdf() -> bytes:
    data = documents.pdf([[(12, "words " * 300)]] * 5)
    return data[: len(data) // 2]


def linearised_and_truncated_pdf() -> bytes:
    """The mark of an end near the beginning, as in a file made for the web."""
    return documents.pdf([[(12, "x")]]) + truncated_pdf() * 2


def page_tree(kids: bytes, count: int, more: bytes) -> bytes:
    return documents.raw_pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, count),
            more,
        ]
    )


def pdf_bomb() -> bytes:
    """A small page whose drawing unpacks to 200 MB of operators."""
    return documents.page_pdf(b"BT /F1 12 Tf 72 700 Td " + b"(words) Tj " * (200 * MEGABYTE // 11) + b"ET")


def evading_html() -> bytes:
    """Raw text to the depth guard, elements to the parser (a title inside SVG): only the child's limits are left."""
    return b"<svg><title>" + b"<div>" * 120_000 + b"x"


def attributes_html() -> bytes:
    return b"<p " + b" ".join(b"a%d=1" % n for n in range(200_000)) + b">x"


CORPUS: dict[str, tuple[str, Callable[[], bytes], set[str]]] = {
    "docx bomb": ("docx", docx_bomb, {"too_complex"}),
    "docx of an impossible ratio": ("docx", dense_docx, {"too_complex"}),
    "docx of 100,000 entries": ("docx", many_entries(), {"too_complex"}),
    "docx of 100,000 entries that claims 3": ("docx", many_entries(3), {"too_complex"}),
    "docx, encrypted as a zip": ("docx", encrypted_zip, {"encrypted_file"}),
    "docx, cut": ("docx", lambda: documents.word([("Normal", "words")])[:-500], {"invalid_file"}),
    "docx with a damaged part": ("docx", damaged_part, {"invalid_file"}),
    "docx with an external entity": (
        "docx",
        lambda: entity_docx('<!ENTITY e SYSTEM "file:///etc/hostname">'),
        {"invalid_file"},
    ),
    "docx with an external document type": (
        "docx",
        lambda: documents.word_of("<w:p/>", prolog='<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'),
        {"invalid_file"},
    ),
    "docx of a billion laughs": ("docx", laughing_docx, {"invalid_file"}),
    "pdf named docx": ("docx", lambda: documents.pdf([[(12, "x")]]), {"invalid_file"}),
    "pdf, encrypted": ("pdf", encrypted_pdf, {"encrypted_file"}),
    "pdf, encrypted by another writer": ("pdf", aes_pdf, {"encrypted_file"}),
    "pdf, truncated": ("pdf", truncated_pdf, {"invalid_file"}),
    "pdf, truncated after an early end": ("pdf", linearised_and_truncated_pdf, {"invalid_file"}),
    "pdf whose page tree is a loop": ("pdf", lambda: page_tree(b"2 0 R", 5, b"<<>>"), {"invalid_file"}),
    "pdf whose page tree is a wider loop": (
        "pdf",
        lambda: page_tree(b"3 0 R 3 0 R", 1000, b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R 2 0 R]/Count 1000>>"),
        {"invalid_file", "no_text"},
    ),
    "pdf that claims a million pages": ("pdf", lambda: page_tree(b"3 0 R", 1_000_000, b"<<>>"), {"too_complex"}),
    "pdf bomb": ("pdf", pdf_bomb, {"parse_memory", "parse_timeout", "parse_crashed", "too_complex"}),
    "png named pdf": ("pdf", lambda: documents.image("png") + b"%%EOF", {"invalid_file"}),
    "words named pdf": ("pdf", lambda: b"words %%EOF", {"invalid_file"}),
    "html of 50,000 nested divs": ("html", lambda: b"<div>" * 50_000 + b"x", {"too_complex"}),
    "html that evades the depth guard": ("html", evading_html, {"parse_timeout"}),
    "html with 200,000 attributes": ("html", attributes_html, {"parse_timeout"}),
    "html that is binary": ("html", lambda: bytes(range(256)) * 10, {"invalid_file"}),
    "text of 30 MB": ("text", lambda: b"words " * (5 * MEGABYTE), {"too_complex"}),
    "text of 100 MB": ("text", lambda: b"words " * (17 * MEGABYTE), {"too_complex"}),
    "markdown of 30 MB": ("markdown", lambda: b"# words\n" * (4 * MEGABYTE), {"too_complex"}),
    **{f"empty {name}": (name, bytes, {"empty_file"}) for name in ("pdf", "docx", "html", "markdown", "text")},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus as files, named by their place in it."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, (_, make, _) in enumerate(CORPUS.values()):
        (folder / str(number)).write_bytes(make())
    return folder


@pytest.mark.parametrize("name", CORPUS)
async def test_a_hostile_file_is_refused_and_the_next_one_is_read(corpus: Path, tmp_path: Path, name: str) -> None:
    format_name, _, codes = CORPUS[name]
    good = tmp_path / "good"
    good.write_text("good words")
    before = set(children(os.getpid()))
    async with ParserPool(LIMITS) as pool:
        with pytest.raises(FileRejected) as refused:
            await pool.parse(corpus / str(list(CORPUS).index(name)), format_name)
        assert refused.value.code in codes
        assert (await pool.parse(good, "text")).text == "good words"
    assert set(children(os.getpid())) == before


PARENT = """
import anyio, json, os, sys
from pathlib import Path
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from tests.support.processes import children, peak_memory_kib

async def main():
    folder, work = Path(sys.argv[1]), json.loads(sys.argv[2])
    codes = []
    async with ParserPool(ParseLimits(**json.loads(sys.argv[3]))) as pool:
        try:
            await pool.parse(folder / "0", "text")
        except FileRejected:
            pass
        before = peak_memory_kib()
        for name, format_name in work:
            try:
                await pool.parse(folder / name, format_name)
                codes.append(None)
            except FileRejected as refused:
                codes.append(refused.code)
        grown = peak_memory_kib() - before
    print(json.dumps([grown, codes, children(os.getpid())]))

anyio.run(main)
"""


async def test_the_whole_corpus_costs_the_parent_less_than_10_megabytes(corpus: Path) -> None:
    work = [(str(number), format_name) for number, (format_name, _, _) in enumerate(CORPUS.values())]
    limits = {"memory_bytes": LIMITS.memory_bytes, "cpu_s": 1, "wall_s": 30}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", PARENT, str(corpus), json.dumps(work), json.dumps(limits)]
    done = subprocess.run(arguments, env=environment, capture_output=True, check=True, timeout=60)
    grown_kib, codes, left = json.loads(done.stdout)
    assert grown_kib < 10 * 1024
    assert all(codes)
    assert left == []


@pytest.mark.parametrize("format_name", ["pdf", "docx"])
async def test_a_damaged_file_is_read_or_refused_but_never_more(tmp_path: Path, format_name: str) -> None:
    made = documents.pdf([[(12, "words " * 50)]] * 2) if format_name == "pdf" else documents.word([("Normal", "words")])
    chance = random.Random(7)  # noqa: S311 - where the bytes are damaged
    async with ParserPool(LIMITS) as pool:
        for number in range(25):
            data = bytearray(made)
            for _ in range(1 << (number % 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path = tmp_path / str(number)
            path.write_bytes(data)
            try:
                document = await pool.parse(path, format_name)
            except FileRejected as refused:
                assert refused.code in {"invalid_file", "encrypted_file", "no_text", "too_complex", "type_mismatch"}
            else:
                assert document.text.strip()
