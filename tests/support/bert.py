"""A second, independent all-MiniLM-L6-v2: plain numpy in double precision, one text at a time, straight from the paper.

Source: Devlin et al., "BERT" (arXiv:1810.04805); Reimers and Gurevych, "Sentence-BERT" (arXiv:1908.10084), for pooling.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Weights = Mapping[str, npt.NDArray[np.float32]]

LAYERS: Final = 6
HEADS: Final = 12
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def reference_embedding(weights: Weights, ids: Sequence[int]) -> Array:
    """Return the vector of a text that has these token ids."""
    hidden = _embedded(weights, ids)
    for layer in range(LAYERS):
        hidden = _layer(weights, f"encoder.layer.{layer}", hidden)
    mean: Array = hidden.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _embedded(weights: Weights, ids: Sequence[int]) -> Array:
    words = weights["embeddings.word_embeddings.weight"][list(ids)].astype(np.float64)
    positions = weights["embeddings.position_embeddings.weight"][: len(ids)]
    return _norm(weights, "embeddings", words + positions + weights["embeddings.token_type_embeddings.weight"][0])


def _layer(weights: Weights, name: str, hidden: Array) -> Array:
    attended = _attention(weights, f"{name}.attention.self", hidden)
    hidden = _norm(
        weights, f"{name}.attention.output", hidden + _dense(weights, f"{name}.attention.output.dense", attended)
    )
    inner = _dense(weights, f"{name}.intermediate.dense", hidden)
    inner = 0.5 * inner * (1 + _ERF(inner / math.sqrt(2)))
    return _norm(weights, f"{name}.output", hidden + _dense(weights, f"{name}.output.dense", inner))


def _attention(weights: Weights, name: str, hidden: Array) -> Array:
    query, key, value = (_dense(weights, f"{name}.{part}", hidden) for part in ("query", "key", "value"))
    width = hidden.shape[1] // HEADS
    heads: list[Array] = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, part])
    return np.concatenate(heads, axis=1)


def _dense(weights: Weights, name: str, hidden: Array) -> Array:
    return hidden @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, hidden: Array) -> Array:
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
    return scaled * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]
