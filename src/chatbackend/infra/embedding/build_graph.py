"""Build the ONNX graph of all-MiniLM-L6-v2 from its packaged weights; `make setup` runs this as a module.

Neither torch nor transformers is needed: the encoder is six equal layers, written here operator by operator, with
onnxruntime's fused operators where it has them. Mean pooling and the L2 norm are part of the graph.

Source: Devlin et al., "BERT" (arXiv:1810.04805), with the shapes of the package's `model/config.json`; operators as in
onnxruntime's `docs/ContribOperators.md`.
"""

import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from safetensors import numpy as safetensors

from chatbackend.infra.embedding.minilm import DIMENSION, absent, graph_path, model_folder

LAYERS = 6
HEADS = 12
EPSILON = 1e-12
FUSED = "com.microsoft"
GRAPH_VERSION = "1"

Weights = Mapping[str, npt.NDArray[np.float32]]


def main() -> int:
    """Build the graph unless the one on disk was made from the same weights."""
    folder = model_folder()
    if folder is None:
        sys.stderr.write(f"Search stays lexical (BM25 alone): {absent()}.\n")
        return 1
    target = graph_path()
    built = build(folder / "model.safetensors", target)
    sys.stdout.write(f"MiniLM graph {'written to' if built else 'is current:'} {target}\n")
    return 0


def build(weights_file: Path, target: Path) -> bool:
    """Write the graph of `weights_file` to `target` atomically. Return False when it is there already."""
    key = f"{GRAPH_VERSION}:{sha256(weights_file.read_bytes()).hexdigest()}"
    stamp = target.with_suffix(".key")
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    weights = safetensors.load_file(weights_file)  # pyright: ignore[reportUnknownMemberType] - a bare PathLike in its types
    _replace(target, model(weights).SerializeToString())
    _replace(stamp, key.encode())
    return True


def model(weights: Weights) -> onnx.ModelProto:
    """Return `(input_ids, attention_mask) -> embedding`, int32 `[batch, length]` twice to float32 `[batch, 384]`."""
    graph = _Graph(weights)
    hidden = graph.embeddings()
    for layer in range(LAYERS):
        hidden = graph.encoder_layer(hidden, f"encoder.layer.{layer}")
    graph.pooled(hidden)
    tokens = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT32, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    result = helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", DIMENSION])
    return helper.make_model(
        helper.make_graph(graph.nodes, "minilm", tokens, [result], graph.initializers),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)],
        ir_version=9,
    )


class _Graph:
    """The nodes and weights written so far; every method returns the name of its result."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._weights = weights

    def embeddings(self) -> str:
        """Words plus positions; one segment only, so its embedding is folded into the positions."""
        words = self._constant("words", self._weights["embeddings.word_embeddings.weight"])
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self._constant("positions", self._weights["embeddings.position_embeddings.weight"] + segment)
        length = self._node("Shape", ["input_ids"], start=1, end=2)
        zero = self._constant("zero", np.array([0], dtype=np.int64))
        summed = self._node(
            "Add",
            [self._node("Gather", [words, "input_ids"]), self._node("Slice", [positions, zero, length, zero])],
        )
        return self._node("LayerNormalization", [summed, *self._norm("embeddings")], axis=-1, epsilon=EPSILON)

    def encoder_layer(self, hidden: str, prefix: str) -> str:
        attended = self._node(
            "Attention",
            [hidden, *self._query_key_value(f"{prefix}.attention.self"), "attention_mask"],
            domain=FUSED,
            num_heads=HEADS,
        )
        hidden = self._add_and_norm(attended, hidden, f"{prefix}.attention.output")
        weight, bias = self._dense(f"{prefix}.intermediate")
        inner = self._node("BiasGelu", [self._node("MatMul", [hidden, weight]), bias], domain=FUSED)
        return self._add_and_norm(inner, hidden, f"{prefix}.output")

    def pooled(self, hidden: str) -> None:
        """The mean over the tokens that are not padding, at length 1."""
        mask = self._node("Cast", ["attention_mask"], to=onnx.TensorProto.FLOAT)
        axis = self._constant("last", np.array([1], dtype=np.int64))
        row = self._node("Unsqueeze", [mask, axis])
        summed = self._node("Squeeze", [self._node("MatMul", [row, hidden]), axis])
        # The L2 norm cancels the division by the number of tokens, so the sum does for the mean.
        self._node("LpNormalization", [summed], result="embedding", axis=1, p=2)

    def _add_and_norm(self, inner: str, skip: str, prefix: str) -> str:
        weight, bias = self._dense(prefix)
        projected = self._node("MatMul", [inner, weight])
        return self._node(
            "SkipLayerNormalization",
            [projected, skip, *self._norm(prefix), bias],
            domain=FUSED,
            epsilon=EPSILON,
        )

    def _query_key_value(self, prefix: str) -> tuple[str, str]:
        parts = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        return self._constant(f"{prefix}.weight", weight), self._constant(f"{prefix}.bias", bias)

    def _dense(self, prefix: str) -> tuple[str, str]:
        weight = self._weights[f"{prefix}.dense.weight"].T
        bias = self._weights[f"{prefix}.dense.bias"]
        return self._constant(f"{prefix}.weight", weight), self._constant(f"{prefix}.bias", bias)

    def _norm(self, prefix: str) -> tuple[str, str]:
        names = (f"{prefix}.LayerNorm.weight", f"{prefix}.LayerNorm.bias")
        return self._constant(names[0], self._weights[names[0]]), self._constant(names[1], self._weights[names[1]])

    def _constant(self, name: str, value: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(
        self, operator: str, inputs: list[str], *, domain: str = "", result: str = "", **attributes: float
    ) -> str:
        name = result or f"{operator.lower()}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name], domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name


def _replace(target: Path, content: bytes) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(target)


if __name__ == "__main__":
    raise SystemExit(main())
