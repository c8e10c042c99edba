"""Who answers in a relayed session."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatbackend.adapters.realtime.relay.transcriber import Find
from chatbackend.domain.realtime import Dialect

_NOBODY: Find = dict[str, str]().get


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers: its dialect, the names that its model may be called by, what nobody may be shown.

    `transcriber` finds its name for a model that writes down what is said.
    """

    dialect: Dialect
    names: Collection[str]
    secrets: Sequence[str] = ()
    transcriber: Find = _NOBODY
