"""How long a provider may keep us waiting."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait: for a connection, for the first byte of headers and again of the body, then between bytes.

    `end_s`: how long the body may go on after the end mark; past it, its connection is not used again.
    """

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    between_s: float = 60.0
    end_s: float = 0.1
