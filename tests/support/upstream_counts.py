"""How the scripted upstream answers what is no generation: counts of tokens, and embeddings."""

import base64
import hashlib
import struct

from tests.support.upstream_asked import Json
from tests.support.upstream_azure import AzureChat
from tests.support.upstream_dialects import Chat, Dialect, Messages
from tests.support.upstream_responses import Responses

DIMENSIONS = 8


class MessagesCount(Messages):
    """`count_tokens` of the Messages API."""

    name = "messages-count"

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        return {"input_tokens": self.call.input_tokens}


class ResponsesCount(Responses):
    """`input_tokens` of the Responses API."""

    name = "responses-count"

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        return {"object": "response.input_tokens", "input_tokens": self.call.input_tokens}


class _Vectors(Dialect):
    """Embeddings: a vector of length 1 that follows from the text alone."""

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        asked, read = self.call.asked, self.call.input_tokens
        self.call.usage = {"input_tokens": read, "output_tokens": 0}
        in_base64 = asked.body.get("encoding_format") == "base64"
        size = int(asked.body.get("dimensions") or DIMENSIONS)
        vectors = [vector(str(entry.get("content")), size) for entry in asked.messages]
        data: list[Json] = [
            {"object": "embedding", "index": index, "embedding": _packed(numbers) if in_base64 else numbers}
            for index, numbers in enumerate(vectors)
        ]
        usage = {"prompt_tokens": read, "total_tokens": read}
        return {"object": "list", "data": data, "model": asked.model, "usage": usage}


class Embeddings(_Vectors, Chat):
    """OpenAI's."""

    name = "embeddings"


class AzureEmbeddings(_Vectors, AzureChat):
    """Azure's."""

    name = "azure-embeddings"


def vector(text: str, size: int = DIMENSIONS) -> list[float]:
    """Return the vector of a text."""
    numbers = [byte - 127.5 for byte in hashlib.shake_256(text.encode()).digest(size)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
