"""How the scripted upstream spells Azure OpenAI: filters beside every answer, an opening chunk without a choice.

Source: the Azure OpenAI REST reference and its page on content filtering in streams.
"""

from tests.support import upstream_errors as errors
from tests.support.upstream_dialects import Chat, Dialect
from tests.support.upstream_responses import Responses
from tests.support.upstream_script import Json

_SAFE: Json = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
_HIT: Json = _SAFE | {"violence": {"filtered": True, "severity": "high"}}


class _Azure(Dialect):
    """What both of its dialects have in common."""

    too_long_param: str

    def denied(self, key: str) -> bool:
        bearer = self.call.header("authorization") == f"Bearer {key}"  # a token of Entra ID
        return not bearer and self.call.header("api-key") != key

    def refusal(self) -> tuple[int, Json] | None:
        dated = "/deployments/" not in self.call.path or "api-version=" in self.call.path
        return None if dated else (404, {"error": {"code": "404", "message": "Resource not found"}})

    def headers(self) -> dict[str, str]:
        return {"apim-request-id": f"req_{self.call.salt}", "x-ms-region": "Nowhere"}

    def waits(self, wait_ms: int) -> dict[str, str]:
        return super().waits(wait_ms) | {"retry-after-ms": str(wait_ms)}

    def error(self, status: int) -> Json:
        return errors.azure(status)

    def too_long(self) -> Json:
        return errors.azure_too_long(self.too_long_param)

    def blocked(self) -> Json:
        return errors.azure_blocked()


class AzureChat(_Azure, Chat):
    """Chat Completions of a deployment."""

    name = "azure-chat"
    too_long_param = "messages"

    def opening(self) -> list[Json]:
        judged = {"prompt_index": 0, "content_filter_results": _SAFE}
        unnamed: Json = {"id": "", "model": "", "object": "", "created": 0, "choices": []}
        return [unnamed | {"prompt_filter_results": [judged]}, *super().opening()]

    def error_event(self) -> Json:
        return errors.openai(500)

    def chunk(self, delta: Json | None, finish_reason: str | None = None) -> Json:
        chunk = super().chunk(delta, finish_reason)
        for choice in chunk["choices"]:
            choice["content_filter_results"] = _judged(finish_reason) if delta else {}
        return chunk

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        completion = super().whole(text, calls, reason)
        for choice in completion["choices"]:
            choice["content_filter_results"] = _judged(choice["finish_reason"])
        return completion | {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]}


class AzureResponses(_Azure, Responses):
    """The Responses API of a resource."""

    name = "azure-responses"
    too_long_param = "input"

    def _response(self, state: str) -> Json:
        judged = {"blocked": False, "source_type": "prompt", "content_filter_results": _SAFE}
        return super()._response(state) | {"content_filters": [judged]}


def _judged(finish_reason: str | None) -> Json:
    return _HIT if finish_reason == "content_filter" else _SAFE
