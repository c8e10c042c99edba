"""Compare a query's vector with many vectors, exactly."""

from collections.abc import Sequence

import numpy as np


def dense_scores(query: bytes, vectors: bytes | Sequence[bytes]) -> list[float]:
    """Return the cosine of the query to each vector, in their order.

    All are little-endian float32 of unit length; `vectors` lie one behind the other, or in a sequence. Numpy lets other
    threads run meanwhile. Raises: ValueError when the dimensions differ.
    """
    asked = np.frombuffer(query, dtype="<f4")
    joined = vectors if isinstance(vectors, bytes) else b"".join(vectors)
    matrix = np.frombuffer(joined, dtype="<f4").reshape(-1, asked.size)
    if not isinstance(vectors, bytes) and len(matrix) != len(vectors):
        raise ValueError("the vectors have another dimension than the query")
    return (matrix @ asked).tolist()
