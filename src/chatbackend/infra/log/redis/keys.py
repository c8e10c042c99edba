"""The names of keys and channels. All of a response carry one hash tag, so that a cluster keeps them together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under a prefix. An id must not hold braces; ours are hexadecimal."""

    prefix: str

    def both(self, response_id: str) -> tuple[str, str]:
        """Return the keys of a stream's state and of its events."""
        return f"{self.prefix}:{{{response_id}}}:meta", self.events(response_id)

    def events(self, response_id: str) -> str:
        """Return the key of a stream's events."""
        return f"{self.prefix}:{{{response_id}}}:events"

    def channel(self, response_id: str) -> str:
        """Return the channel on which a stream's head is told."""
        return f"{self.prefix}:{{{response_id}}}:moved"

    @property
    def unended(self) -> str:
        """The set of streams that may lack their terminal event."""
        return f"{self.prefix}:unended"

    @property
    def signals(self) -> str:
        """The one channel on which processes tell each other that something moved."""
        return f"{self.prefix}:signals"

    @property
    def mark(self) -> str:
        """What tells this Redis from one that was emptied."""
        return f"{self.prefix}:mark"
