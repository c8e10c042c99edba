"""Facts of realtime sessions that every layer shares."""

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["ga", "beta"]  # of the Realtime protocol; Azure's preview API speaks beta
SESSION_S = 3600.0  # how long a session lasts where its provider does not say
LONGEST_REASON = 123  # bytes that a close frame has room for, behind its code


@dataclass(frozen=True, slots=True)
class Ended:
    """How one side closed: the code that its close frame had (1005: none; 1006: there was no close frame)."""

    code: int
    reason: str = ""
