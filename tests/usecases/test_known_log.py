"""Which log a server is known to have written whole."""

import pytest

from chatbackend.domain.responses import COMPLETED, Ask, Response, end
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.live import Entry, Live
from tests.support.fakes import ME

pytestmark = pytest.mark.anyio


class Desk:
    """A server's running responses, and its log that was called `first` when it began."""

    def __init__(self) -> None:
        self.live = Live(lambda: 0.0, max_running=10)
        self.log = KnownLog(self.live)
        self.log.begin("first")

    def runs(self, name: str) -> Entry:
        return self.live.add(Response(name, ME, "m", 0), Ask("m", [], b"", {}))

    def ends(self, entry: Entry) -> None:
        end(entry.response, COMPLETED, at=1)
        self.live.ended(entry)


async def test_a_log_that_stays_is_gone_by() -> None:
    desk = Desk()
    desk.runs("resp_1")
    desk.log.seen("first", ends_missing=True)
    assert desk.log.name == "first"


async def test_another_log_is_gone_by_once_everything_that_the_old_one_held_has_ended() -> None:
    desk = Desk()
    old = desk.runs("resp_1")
    desk.log.seen("second", ends_missing=False)
    desk.runs("resp_2")
    desk.log.seen("second", ends_missing=False)
    assert desk.log.name == "first"
    desk.ends(old)
    desk.log.seen("second", ends_missing=False)
    assert desk.log.name == "second"


async def test_not_while_it_lacks_an_end() -> None:
    desk = Desk()
    desk.log.seen("second", ends_missing=True)
    assert desk.log.name == "first"
    desk.log.seen("second", ends_missing=False)
    assert desk.log.name == "second"


async def test_a_third_begins_the_wait_anew() -> None:
    desk = Desk()
    one = desk.runs("resp_1")
    desk.log.seen("second", ends_missing=False)
    two = desk.runs("resp_2")
    desk.log.seen("third", ends_missing=False)
    desk.ends(one)
    desk.log.seen("third", ends_missing=False)
    assert desk.log.name == "first"
    desk.ends(two)
    desk.log.seen("third", ends_missing=False)
    assert desk.log.name == "third"


async def test_one_that_comes_back_was_never_left() -> None:
    desk = Desk()
    desk.runs("resp_1")
    desk.log.seen("second", ends_missing=False)
    desk.log.seen("first", ends_missing=False)
    assert desk.log.name == "first"
