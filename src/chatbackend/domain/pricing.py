"""What a call costs: exact integers, so that the ledger adds up to the last nano-dollar.

Prices are written as the providers write them, in US dollars per million tokens, and kept as whole nano-dollars per
million tokens. A row is rounded once, half to even.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from chatbackend.domain.usage import Usage

NANO = 10**9  # nano-dollars in a dollar
PER_TOKENS = 10**6  # tokens that a price is for
MOST_USD = 10**6  # far above any price; a number beyond it is a slip of the pen
_NEEDED = ("input", "output")
_KEYS = (*_NEEDED, "cached_input", "cache_write")


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens. Reasoning is output; what is read from or into a cache is input."""

    input: int
    output: int
    cached_input: int
    cache_write: int

    def cost(self, usage: Usage) -> int:
        """Return what the tokens cost, in nano-dollars."""
        plain = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
        total = (
            plain * self.input
            + usage.cached_tokens * self.cached_input
            + usage.cache_write_tokens * self.cache_write
            + usage.output_tokens * self.output
        )
        whole, rest = divmod(total, PER_TOKENS)
        return whole + (2 * rest + (whole & 1) > PER_TOKENS)


class Prices:
    """The price table: by a deployment's full name, or else by the longest beginning of it (`openai/gpt-5*`)."""

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        known = prices or {}
        self._exact = {name: price for name, price in known.items() if not name.endswith("*")}
        beginnings = [(name[:-1], price) for name, price in known.items() if name.endswith("*")]
        self._beginnings = sorted(beginnings, key=lambda entry: -len(entry[0]))

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> "Prices":
        """Read a table as it is written: a deployment's name, and its prices in dollars per million tokens.

        `cached_input` and `cache_write` are the price of `input` where they are left out.
        Raises: ValueError, naming the key.
        """
        return cls({name: _price(name, prices) for name, prices in table.items()})

    def of(self, deployment: str) -> Price | None:
        """Return the price of a deployment, None when it is not known."""
        exact = self._exact.get(deployment)
        if exact is not None or not self._beginnings:
            return exact
        return next((price for start, price in self._beginnings if deployment.startswith(start)), None)

    def cost(self, deployment: str, usage: Usage) -> int | None:
        """Return what a call cost, in nano-dollars; None, never 0, when its price is not known."""
        price = self.of(deployment)
        return None if price is None else price.cost(usage)


def _price(name: str, given: object) -> Price:
    where = f'prices."{name}"'
    if "*" in name[:-1]:
        raise ValueError(f"{where}: a * may stand at the end only")
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: write a table with {', '.join(_KEYS)}")
    fields = cast(Mapping[str, object], given)
    if unknown := next((key for key in fields if key not in _KEYS), None):
        raise ValueError(f"{where}.{unknown}: unknown; a price has {', '.join(_KEYS)}")
    if missing := next((key for key in _NEEDED if key not in fields), None):
        raise ValueError(f"{where}.{missing}: missing; use 0 for what is free")
    read = {key: _nano(f"{where}.{key}", value) for key, value in fields.items()}
    plain = read["input"]
    return Price(plain, read["output"], read.get("cached_input", plain), read.get("cache_write", plain))


def _nano(where: str, value: object) -> int:
    """Return dollars as nano-dollars; a float counts as the decimal number that it is written as."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"{where}: use a number, in US dollars per million tokens")
    dollars = Decimal(str(value))
    if not dollars.is_finite() or not 0 <= dollars <= MOST_USD:
        raise ValueError(f"{where} is {value}: use a number from 0 to {MOST_USD}")
    nano = dollars * NANO
    if nano != int(nano):
        raise ValueError(f"{where} is {value}: use at most nine decimals")
    return int(nano)
