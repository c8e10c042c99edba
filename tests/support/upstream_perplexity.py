"""How the scripted upstream spells Perplexity: Chat Completions with sources, which takes strictly alternating turns.

Source: the Sonar API reference, and recorded answers: usage and sources are in every chunk, the last of which is of
another kind, and no chunk is without a choice.
"""

from tests.support import upstream_errors as errors
from tests.support.upstream_dialects import Chat
from tests.support.upstream_script import Json

SOURCES = ("https://one.example/roses", "https://two.example/violets")


class Perplexity(Chat):
    """The Sonar models."""

    name = "perplexity"

    def refusal(self) -> tuple[int, Json] | None:
        asked = self.call.asked
        if asked.body.get("tools"):
            words = "Tool calling is not supported for this model."
            return 400, errors.perplexity(400, words, "tool_calling_not_supported")
        roles = [str(message.get("role")) for message in asked.messages]
        turns = [role for place, role in enumerate(roles) if role != "system" or "user" in roles[:place]]
        if turns != [("user", "assistant")[place % 2] for place in range(len(turns))]:
            words = "After the (optional) system message(s), user and assistant roles should be alternating."
            return 400, errors.perplexity(400, words, "invalid_message")
        if turns[-1:] != ["user"]:
            words = "Last message must have role `user`."
            return 400, errors.perplexity(400, words, "invalid_message")
        return None

    def opening(self) -> list[Json]:
        return []

    def error(self, status: int) -> Json:
        return errors.perplexity(status)

    def too_long(self) -> Json:
        return errors.perplexity(400, "The prompt exceeds the maximum context length of this model.")

    def blocked(self) -> Json:
        return errors.perplexity(400, "scripted refusal of the prompt")

    def chunk(self, delta: Json | None, finish_reason: str | None = None) -> Json:
        chunk = super().chunk({"role": "assistant", "content": ""} | (delta or {}), finish_reason)
        return chunk | self._extras()

    def closing(self, reason: str) -> list[bytes]:
        last = self.chunk({}, self.reasons.get(reason)) | {"object": "chat.completion.done"}
        return ([] if reason == "none" else [self.frame(last)]) + [b"data: [DONE]\n\n"]

    def whole(self, text: str, calls: list[tuple[str, str, str]], reason: str) -> Json:
        return super().whole(text, calls, reason) | self._extras()

    def _extras(self) -> Json:
        found = [{"title": url[8:11], "url": url, "date": "2026-01-02", "last_updated": None} for url in SOURCES]
        return ({} if self.call.has("no-usage") else {"usage": self.usage()}) | {
            "citations": list(SOURCES),
            "search_results": found,
        }

    def usage(self) -> Json:
        cost = {"input_tokens_cost": 0.0, "output_tokens_cost": 0.0, "request_cost": 0.005, "total_cost": 0.005}
        return super().usage() | {"search_context_size": "low", "num_search_queries": 1, "cost": cost}
