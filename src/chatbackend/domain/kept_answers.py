"""An answer that is kept under an Idempotency-Key: the events of its log, and which errors leave the key free.

A log begins with `BEGUN`, whose data says who asked. A stream goes on with `HEAD`, its bytes in `CHUNK`s, and ends with
`ENDED`, which carries its last bytes; any other answer is one event, `WHOLE`. So what has no terminal event was not
answered to the end, and what has one is complete.
"""

from chatbackend.domain.errors import ChatError, Internal, UpstreamCut, UpstreamTimeout

ID_PREFIX = "ans"
BEGUN, HEAD, CHUNK, ENDED, WHOLE = "answer.begun", "answer.head", "answer.chunk", "answer.ended", "answer.whole"
ENDS = frozenset((ENDED, WHOLE))
AT_LAST = 2**40  # the number of an end that is told for a dead owner: higher than any which a reader may have seen


def is_kept_answer(stream_id: str) -> bool:
    """Whether a stream of the event log is one of these."""
    return stream_id.startswith(f"{ID_PREFIX}_")


def frees_key(error: ChatError) -> bool:
    """Whether the request may be tried again under its key, where this ended it before its first byte.

    Not where a provider that was asked may have generated something: a second try could be a second generation.
    """
    return not isinstance(error, UpstreamTimeout | UpstreamCut | Internal)


def interrupted() -> Internal:
    """Return what is told of an answer whose process ended under it: it is never gone on with, nor made anew."""
    message = (
        "The server ended while it made this answer, and the provider may have been asked. "
        "Ask again under another Idempotency-Key."
    )
    return Internal(message, code="interrupted")
