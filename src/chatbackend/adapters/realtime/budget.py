"""The tokens that one session may use, where its client secret bounds them.

They are known when an answer has ended, so that the one that goes over is whole, and none begins after it.
"""

from chatbackend.domain.errors import Forbidden
from chatbackend.domain.usage import Usage


class Budget:
    """One session's. `max_tokens`: input and output together, None for any number."""

    def __init__(self, max_tokens: int | None) -> None:
        self._max_tokens = max_tokens
        self._used = 0

    def use(self, usage: Usage) -> None:
        """Take note of what an answer used."""
        self._used += usage.total_tokens

    @property
    def exceeded(self) -> Forbidden | None:
        """Why the session ends; None while it goes on."""
        if self._max_tokens is None or self._used <= self._max_tokens:
            return None
        message = f"The session has used {self._used} tokens; its client secret allows {self._max_tokens}."
        return Forbidden(message, code="budget_exceeded")
