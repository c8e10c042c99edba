"""Everything that can go wrong, named by what the caller can do about it.

`adapters.errors` maps each class to a status, a type, a code and a WebSocket close code: one table.
Messages are written for the caller: never a provider's raw body, a path, a stack or a key.
"""


class ChatError(Exception):
    """Base of every error that a caller may see.

    `param` names the offending request field; `code` overrides the table's machine-readable code.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidRequest(ChatError):
    """The request itself is wrong: mend it and send it again."""


class Unprocessable(InvalidRequest):
    """Well-formed, but it contradicts something: another body under the same idempotency key, say."""


class TooLarge(InvalidRequest):
    """A body, frame, field or file is over its limit."""


class TooSlow(InvalidRequest):
    """The request did not come in time."""


class Unauthenticated(ChatError):
    """No credential, or one that is not (or no longer) known."""


class Forbidden(ChatError):
    """The credential is known but may not do this."""


class NotFound(ChatError):
    """No such object for this caller (foreign ones look the same)."""


class NotAllowed(ChatError):
    """The object is there, but knows no such operation; `allowed` names those that it knows."""

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Conflict(ChatError):
    """The object's state does not allow this now."""


class Gone(ChatError):
    """It existed, and what is asked of it is no longer kept."""


class RateLimited(ChatError):
    """Too much at once: wait `retry_after_s` and try again."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(ChatError):
    """We cannot take this now and have acknowledged nothing: try again after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Internal(ChatError):
    """Our fault; the log has the cause."""


class UpstreamError(ChatError):
    """The provider failed: its 5xx, an error inside its stream, an answer that is none."""


class UpstreamTimeout(UpstreamError):
    """The provider did not answer, or fell silent, within its deadline."""


class UpstreamCut(UpstreamError):
    """The provider's stream ended before its end."""


class UpstreamOverloaded(UpstreamError):
    """The provider asks us for patience (429)."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class UpstreamBusy(UpstreamOverloaded):
    """The provider asks everyone for patience (503, 529)."""


class UpstreamRefused(UpstreamError):
    """The provider refuses this very request (400): sending it again will not help."""


class UpstreamLacks(UpstreamRefused):
    """The provider has no such thing as the request names (404): a model, mostly."""


class UpstreamTooLarge(UpstreamRefused):
    """The request is larger than the provider takes (413)."""


class UpstreamUnprocessable(UpstreamRefused):
    """The provider understands the request and cannot follow it (422)."""


class UpstreamDenied(UpstreamError):
    """The provider refuses our credential (401, 403): the operator must mend the configuration."""
