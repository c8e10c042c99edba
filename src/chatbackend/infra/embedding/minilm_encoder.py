"""Runs the MiniLM graph: texts to vectors, blocking, on one core a call. Heavy to import: see `minilm`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

MAX_TOKENS: Final = 256  # what the model was trained on
MAX_CHARS: Final = 32 * MAX_TOKENS  # what the tokenizer is given: a huge text costs no more than a long one
# Runs of 1,024 tokens are as fast as runs of 8,192, and the process stays at 210 MB instead of 460.
RUN_TEXTS: Final = 32
RUN_TOKENS: Final = 1024


class _Session(Protocol):
    """The one method we use of `onnxruntime.InferenceSession`, which carries no types."""

    def run(
        self, output_names: Sequence[str], input_feed: Mapping[str, npt.NDArray[np.int32]]
    ) -> Sequence[npt.NDArray[np.float32]]: ...


class Encoder:
    """A loaded model; `embed` may be called from several threads."""

    def __init__(self, graph: Path, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS)  # pyright: ignore[reportUnknownMemberType] - untyped **kwargs
        self._tokenizer.no_padding()
        self._session = _session(graph)

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return a vector for each text: little-endian float32, of unit length."""
        # One by one: the tokenizer's own batches would start a thread on every core.
        encoded = [self._tokenizer.encode(_readable(text)).ids for text in texts]
        vectors = [b""] * len(texts)
        for run in _runs([len(ids) for ids in encoded]):
            for index, vector in zip(run, self._run([encoded[index] for index in run]), strict=True):
                vectors[index] = vector.astype("<f4").tobytes()
        return vectors

    def _run(self, encoded: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids = np.zeros((len(encoded), max(map(len, encoded))), dtype=np.int32)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def _session(graph: Path) -> _Session:
    options = onnxruntime.SessionOptions()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])  # pyright: ignore[reportUnknownArgumentType] - the same
    return cast(_Session, session)


def _runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield indexes of texts of like length, so that little of a run is padding."""
    run: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if run and (len(run) == RUN_TEXTS or (len(run) + 1) * lengths[index] > RUN_TOKENS):
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _readable(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become question marks."""
    return text[:MAX_CHARS].encode("utf-8", "replace").decode()
