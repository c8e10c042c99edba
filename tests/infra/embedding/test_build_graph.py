"""The graph of the embedding model is built from its weights, once."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from safetensors import numpy as safetensors

from chatbackend.infra.embedding.build_graph import build, main
from tests.support.bert import reference_embedding

Weights = dict[str, npt.NDArray[np.float32]]
LENGTHS = (5, 16, 1)


def random_weights(seed: int) -> Weights:
    """Weights of the model's shapes, with a vocabulary of 50 words and 16 positions."""
    shapes = {
        "embeddings.word_embeddings.weight": (50, 384),
        "embeddings.position_embeddings.weight": (16, 384),
        "embeddings.token_type_embeddings.weight": (2, 384),
    }
    layers = [f"encoder.layer.{number}" for number in range(6)]
    dense = {"attention.self.query": 384, "attention.self.key": 384, "attention.self.value": 384}
    dense |= {"attention.output.dense": 384, "intermediate.dense": 1536}
    for layer in layers:
        shapes |= {f"{layer}.{name}.weight": (size, 384) for name, size in dense.items()}
        shapes |= {f"{layer}.{name}.bias": (size,) for name, size in dense.items()}
        shapes |= {f"{layer}.output.dense.weight": (384, 1536), f"{layer}.output.dense.bias": (384,)}
    for name in ["embeddings", *(f"{layer}.{part}" for layer in layers for part in ("attention.output", "output"))]:
        shapes |= {f"{name}.LayerNorm.weight": (384,), f"{name}.LayerNorm.bias": (384,)}
    chance = np.random.default_rng(seed)
    return {name: chance.normal(0, 0.1, size).astype(np.float32) for name, size in shapes.items()}


def weights_file(folder: Path, seed: int) -> Path:
    path = folder / f"{seed}.safetensors"
    safetensors.save_file(random_weights(seed), path)  # pyright: ignore[reportUnknownMemberType] - a bare PathLike in its types
    return path


def run(graph: Path, texts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    ids = np.zeros((len(texts), max(map(len, texts))), dtype=np.int32)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    session = onnxruntime.InferenceSession(graph)
    results = session.run(None, {"input_ids": ids, "attention_mask": mask})  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
    return cast(npt.NDArray[np.float32], results[0])


def test_the_graph_computes_what_the_paper_says_whatever_the_weights(tmp_path: Path) -> None:
    build(weights_file(tmp_path, 1), tmp_path / "graph.onnx")
    texts = [np.random.default_rng(length).integers(0, 50, length).tolist() for length in LENGTHS]
    expected = [reference_embedding(random_weights(1), text) for text in texts]
    np.testing.assert_allclose(run(tmp_path / "graph.onnx", texts), expected, atol=1e-5)


def test_a_graph_is_built_again_only_for_other_weights(tmp_path: Path) -> None:
    graph = tmp_path / "new" / "graph.onnx"
    one, two = weights_file(tmp_path, 1), weights_file(tmp_path, 2)
    assert [build(each, graph) for each in (one, one, two, two, one)] == [True, False, True, False, True]


def test_a_build_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    graph, weights = tmp_path / "graph.onnx", weights_file(tmp_path, 1)
    build(weights, graph)
    graph.with_suffix(".key").unlink()
    assert build(weights, graph)


def test_without_the_package_the_command_says_that_search_stays_lexical(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list[str]())
    assert main() == 1
    assert "BM25 alone" in capsys.readouterr().err
