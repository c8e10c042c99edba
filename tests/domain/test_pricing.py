"""Prices: found by name, exact to the nano-dollar, and never guessed."""

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.pricing import Price, Prices
from chatbackend.domain.usage import Usage

GPT = {"input": 1.25, "cached_input": 0.125, "output": 10.0}
CLAUDE = {"input": 3, "cached_input": Decimal("0.30"), "cache_write": 3.75, "output": 15}
TABLE: dict[str, object] = {"openai/gpt-5": GPT, "claude/sonnet": CLAUDE}
TOKENS = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("deployment", "usage", "nano_usd"),
    [
        ("openai/gpt-5", Usage(), 0),
        ("openai/gpt-5", Usage(1, 1), 1_250 + 10_000),
        ("openai/gpt-5", Usage(1_000_000, 0), 1_250_000_000),
        ("openai/gpt-5", Usage(1_000, 10, cached_tokens=600), 400 * 1_250 + 600 * 125 + 10 * 10_000),
        ("openai/gpt-5", Usage(10, 100, reasoning_tokens=90), 10 * 1_250 + 100 * 10_000),
        ("claude/sonnet", Usage(100, 0, 50, 30), 20 * 3_000 + 50 * 300 + 30 * 3_750),
        ("openai/gpt-5", Usage(100, 0, 30, 20), 70 * 1_250 + 30 * 125),
    ],
)
def test_a_call_costs_what_its_tokens_cost(deployment: str, usage: Usage, nano_usd: int) -> None:
    assert Prices.parse(TABLE).cost(deployment, usage) == nano_usd


def test_reasoning_is_paid_once_as_the_output_that_it_is() -> None:
    prices = Prices.parse(TABLE)
    assert prices.cost("openai/gpt-5", Usage(0, 9, reasoning_tokens=9)) == prices.cost("openai/gpt-5", Usage(0, 9))


def test_an_unknown_price_is_none_and_a_free_model_costs_nothing() -> None:
    prices = Prices.parse({"local": {"input": 0, "output": 0}})
    assert prices.cost("local", Usage(5, 5)) == 0
    assert prices.cost("local2", Usage(5, 5)) is None
    assert Prices().cost("local", Usage(5, 5)) is None


def test_counts_that_contradict_each_other_never_earn_money() -> None:
    assert Prices.parse(TABLE).cost("openai/gpt-5", Usage(10, 0, cached_tokens=30)) == 30 * 125


@pytest.mark.parametrize(
    ("nano_per_million", "nano_usd"),
    [(499_999, 0), (500_000, 0), (500_001, 1), (1_499_999, 1), (1_500_000, 2), (2_500_000, 2), (2_500_001, 3)],
)
def test_a_row_is_rounded_once_half_to_even(nano_per_million: int, nano_usd: int) -> None:
    assert Price(nano_per_million, 0, 0, 0).cost(Usage(1)) == nano_usd


@given(TOKENS, TOKENS, st.tuples(*[st.integers(0, 10**12)] * 4))
def test_a_cost_is_the_exact_sum_rounded(input_tokens: int, output_tokens: int, nanos: tuple[int, ...]) -> None:
    plain, output, cached, written = nanos
    usage = Usage(input_tokens, output_tokens, input_tokens // 2, input_tokens // 3)
    rest = input_tokens - input_tokens // 2 - input_tokens // 3
    exact = rest * plain + usage.cached_tokens * cached + usage.cache_write_tokens * written + output_tokens * output
    assert Price(plain, output, cached, written).cost(usage) == round(Fraction(exact, 10**6))


@given(st.decimals(0, 1000, places=9))
def test_a_price_is_the_decimal_number_that_is_written(dollars: Decimal) -> None:
    for written in (dollars, float(dollars)):
        price = Prices.parse({"m": {"input": written, "output": 0}}).of("m")
        assert price is not None
        assert price.input == dollars * 10**9


def test_a_cache_costs_as_much_as_input_unless_it_is_said() -> None:
    price = Prices.parse({"m": {"input": 2, "output": 4}}).of("m")
    assert price == Price(2 * 10**9, 4 * 10**9, 2 * 10**9, 2 * 10**9)


def test_the_exact_name_comes_first_and_then_the_longest_beginning() -> None:
    names = ("openai/*", "openai/gpt-5*", "openai/gpt-5-mini", "*")
    prices = Prices.parse({name: {"input": number, "output": 0} for number, name in enumerate(names)})
    found = {
        "openai/gpt-5-mini": 2,
        "openai/gpt-5-mini-2026": 1,
        "openai/gpt-4": 0,
        "claude/opus": 3,
    }
    for name, number in found.items():
        assert prices.cost(name, Usage(1)) == number * 1_000


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"a/b": 1.25}, 'prices."a/b": write a table with input'),
        ({"a/b": {"input": 1}}, 'prices."a/b".output: missing'),
        ({"a/b": {"output": 1}}, 'prices."a/b".input: missing'),
        ({"a/b": {"input": 1, "outptu": 1}}, 'prices."a/b".outptu: unknown'),
        ({"a/b": {"input": "1", "output": 1}}, 'prices."a/b".input: use a number'),
        ({"a/b": {"input": True, "output": 1}}, 'prices."a/b".input: use a number'),
        ({"a/b": {"input": 1, "output": -1}}, 'prices."a/b".output is -1: use a number from 0'),
        ({"a/b": {"input": 1, "output": inf}}, 'prices."a/b".output is inf: use a number from 0'),
        ({"a/b": {"input": 1, "output": nan}}, 'prices."a/b".output is nan: use a number from 0'),
        ({"a/b": {"input": 1, "output": 1e9}}, 'prices."a/b".output is 1000000000.0: use a number from 0'),
        ({"a/b": {"input": 1, "output": 1e-10}}, 'prices."a/b".output is 1e-10: use at most nine decimals'),
        ({"a*b": {"input": 1, "output": 1}}, 'prices."a*b": a * may stand at the end only'),
    ],
)
def test_a_bad_price_is_refused_by_its_key(table: Mapping[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        Prices.parse(table)
