"""Tokens used, as providers report them or as we estimate them."""

from dataclasses import dataclass, replace
from typing import Literal

CallOutcome = Literal["completed", "incomplete", "failed", "cancelled", "interrupted"]
CHARACTERS_PER_TOKEN = 4  # English prose under the usual tokenizers; only for rows marked `estimated`
COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_BITS = 53
MOST_TOKENS = 2**_BITS - 1  # of a kind: what every number of JSON, and every sum of a thousand rows, can hold


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one upstream call; `estimated` when the provider did not say.

    A count that cannot be is the nearest that can: whatever a provider says, rows and answers can be written.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    def __post_init__(self) -> None:
        bits = self.input_tokens | self.output_tokens | self.cached_tokens | self.cache_write_tokens
        if (bits | self.reasoning_tokens) >> _BITS:  # a sign, or more: half the time of comparing each
            for name in COUNTS:
                object.__setattr__(self, name, min(max(getattr(self, name), 0), MOST_TOKENS))

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )


@dataclass(slots=True)
class Settlement:
    """What an upstream call used, and how it ended.

    `incomplete`: the provider stopped at a limit or a filter; `failed`: it refused, broke off or was too late;
    `cancelled`: we hung up; `interrupted`: our process ended under it.
    """

    usage: Usage
    outcome: CallOutcome


def estimate(input_characters: int, output_characters: int) -> Usage:
    """Return a rough usage for a call whose provider never told."""
    tokens = (-(-count // CHARACTERS_PER_TOKEN) for count in (input_characters, output_characters))
    return Usage(*tokens, estimated=True)


def of_part(reported: Usage, guess: Usage) -> Usage:
    """Return the usage of an answer that was cut short, of which the provider had told only so far.

    Some tell the input at the start and the output at the end: the output is then no less than what came.
    """
    return replace(reported, output_tokens=max(reported.output_tokens, guess.output_tokens), estimated=True)
