"""Token counts: sums and estimates."""

from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.usage import MOST_TOKENS, Usage, estimate, of_part

USAGES = st.builds(Usage, *[st.integers(0, 10_000)] * 5, estimated=st.booleans())


def test_a_total_is_input_and_output() -> None:
    assert Usage(3, 4, 2, 1, 1).total_tokens == 7


@given(USAGES, USAGES)
def test_sums_are_by_kind_and_estimated_when_a_part_is(one: Usage, other: Usage) -> None:
    both = one + other
    assert both == other + one
    assert both.total_tokens == one.total_tokens + other.total_tokens
    assert both.cached_tokens == one.cached_tokens + other.cached_tokens
    assert both.cache_write_tokens == one.cache_write_tokens + other.cache_write_tokens
    assert both.reasoning_tokens == one.reasoning_tokens + other.reasoning_tokens
    assert both.estimated == (one.estimated or other.estimated)


@given(st.integers(), st.integers())
def test_a_count_that_cannot_be_is_the_nearest_that_can(one: int, other: int) -> None:
    told = Usage(one, other, one, other, one) + Usage(other, one)
    for count in (told.input_tokens, told.output_tokens, told.cached_tokens, told.cache_write_tokens):
        assert 0 <= count <= MOST_TOKENS
    assert Usage(-1, 10**5000, -2, 10**20, -(10**30)) == Usage(0, MOST_TOKENS, 0, MOST_TOKENS, 0)


def test_an_estimate_rounds_up_and_says_what_it_is() -> None:
    assert estimate(0, 1) == Usage(0, 1, estimated=True)
    assert estimate(8, 9) == Usage(2, 3, estimated=True)


def test_a_cut_answer_costs_no_less_output_than_what_came() -> None:
    told = Usage(30, 1, cached_tokens=5)
    assert of_part(told, estimate(400, 80)) == Usage(30, 20, cached_tokens=5, estimated=True)
    assert of_part(told, estimate(400, 3)) == Usage(30, 1, cached_tokens=5, estimated=True)
