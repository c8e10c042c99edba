"""What the machine gives: ids."""

import re
import time
from collections.abc import Callable

import pytest

from chatbackend.infra.system import Ids, new_id


@pytest.mark.parametrize("make", [new_id, Ids()], ids=["one", "pooled"])
def test_ids_begin_with_the_time_and_never_repeat(make: Callable[[str], str]) -> None:
    before = time.time_ns() // 1_000_000
    ids = [make("resp") for _ in range(2_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("resp_[0-9a-f]{32}", one) for one in ids)
    times = [int(one[len("resp_") :][:12], 16) for one in ids]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= after


def test_what_follows_the_time_is_random() -> None:
    tails = [Ids()("call")[-20:] for _ in range(500)]
    for place in range(20):
        assert len({tail[place] for tail in tails}) == 16
