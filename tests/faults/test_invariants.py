"""The checker names each way in which a whole history can be broken, and the figures leave out what faults excuse."""

from collections.abc import Callable

import msgspec
import pytest

from tests.faults.figures import counted, orphans_s, percentile, resumes_s
from tests.faults.history import Call, Chunked, Held, History, Outage, Relayed, Resume, Row, Seen, Watch
from tests.faults.invariants import violations
from tests.faults.results import Line, summary

SERVER = "http://one"
PEACE = Chunked("sha", "ready", ("auto completed 3",), "digest")


def event(number: int, kind: str, **fields: object) -> Seen:
    body = {"type": kind, "sequence_number": number, **fields}
    return Seen(number, kind, msgspec.json.encode(body))


def whole() -> History:
    """A run in which one response was asked for, followed to its end, cancelled too late, steered, and so on."""
    response = {
        "id": "resp_1",
        "status": "completed",
        "output": [{"content": [{"type": "output_text", "text": "s1:0 s1:1 "}]}],
    }
    log = [
        event(0, "response.created", response={"id": "resp_1"}),
        event(1, "response.output_text.delta", delta="s1:0 "),
        event(2, "response.output_text.delta", delta="s1:1 "),
        event(3, "response.completed", response=response),
    ]
    history = History()
    history.acknowledged["k"] = {"resp_1"}
    history.watches = [Watch("k", "resp_1", SERVER, 1.0, 2.0, list(log))]
    history.held = {"resp_1": Held(response, list(log))}
    history.stopped = {"resp_1": "completed"}
    history.steered = {"Steer k": "resp_1"}
    history.talks["conv_1"] = ["k", "l"]
    history.said = {"conv_1": ["Question k", "Question l"]}
    history.inputs.update(["Question k", "Steer k"])
    history.ledger = [Row("resp_1", "settled", False, 7, 2)]
    history.upstream = {"s1": Call("Question k", 7, 2)}
    history.relayed["m"] = Relayed(True, True, [(3, 4)], [Row("call_1", "settled", False, 3, 4)])
    history.files.by_key["u"] = {"file_1"}
    history.files.uploaded = {"file_1": "sha"}
    history.files.chunked = {"file_1": PEACE}
    history.files.undisturbed = {"sha": PEACE}
    return history


def test_a_whole_history_breaks_nothing() -> None:
    assert violations(whole()) == []


def lose_the_response(history: History) -> None:
    history.held["resp_1"] = None


def answer_a_key_twice(history: History) -> None:
    history.acknowledged["k"].add("resp_2")


def skip_a_number(history: History) -> None:
    del history.watches[0].events[1]


def change_an_event(history: History) -> None:
    history.watches[0].events[1] = event(1, "response.output_text.delta", delta="other")


def lose_the_log(history: History) -> None:
    history.held["resp_1"] = Held(history.held["resp_1"].response, None) if history.held["resp_1"] else None


def splice(history: History) -> None:
    held = history.held["resp_1"]
    assert held is not None
    held.response["output"][0]["content"][0]["text"] = "s1:0 s2:1 "


def end_otherwise_than_the_cancel_said(history: History) -> None:
    history.stopped["resp_1"] = "cancelled"


def keep_what_was_deleted(history: History) -> None:
    history.deleted.add("resp_1")


def lose_steering(history: History) -> None:
    del history.inputs["Steer k"]


def take_steering_twice(history: History) -> None:
    history.inputs["Steer k"] = 2


def take_steering_and_give_it_back(history: History) -> None:
    history.given_back.add("Steer k")


def lose_a_turn(history: History) -> None:
    history.said["conv_1"].remove("Question l")


def double_a_turn(history: History) -> None:
    history.said["conv_1"].append("Question l")


def turn_turns_round(history: History) -> None:
    history.said["conv_1"].reverse()


def see_no_end(history: History) -> None:
    history.unfinished.append("k")


def forget_a_row(history: History) -> None:
    history.ledger.clear()


def leave_a_row_open(history: History) -> None:
    history.ledger = [Row("resp_1", "started", False, 7, 2)]


def bill_another_count(history: History) -> None:
    history.ledger = [Row("resp_1", "settled", False, 7, 3)]


def forget_a_relayed_row(history: History) -> None:
    history.relayed["m"].rows.clear()


def bill_a_relayed_call_twice(history: History) -> None:
    history.relayed["m"].rows *= 2


def estimate_a_relayed_call_that_was_counted(history: History) -> None:
    history.relayed["m"].rows = [Row("call_1", "settled", True, 3, 4)]


def lose_a_file(history: History) -> None:
    history.files.chunked.clear()


def make_a_file_twice(history: History) -> None:
    history.files.by_key["u"].add("file_2")


def keep_a_deleted_file(history: History) -> None:
    history.files.deleted.add("file_1")


def cut_other_chunks(history: History) -> None:
    history.files.chunked["file_1"] = Chunked("sha", "ready", PEACE.sets, "another")


def leave_a_file_half_indexed(history: History) -> None:
    history.files.chunked["file_1"] = Chunked("sha", "indexing", ("auto in_progress 2",), "another")


def leave_chunks_behind(history: History) -> None:
    history.files.orphans["orphaned chunks"] = 3


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lose_the_response, "I1"),
        (answer_a_key_twice, "I2"),
        (skip_a_number, "I3"),
        (change_an_event, "I3"),
        (lose_the_log, "I3"),
        (splice, "I3"),
        (end_otherwise_than_the_cancel_said, "I1"),
        (keep_what_was_deleted, "I1"),
        (lose_steering, "I1"),
        (take_steering_twice, "I2"),
        (take_steering_and_give_it_back, "I2"),
        (lose_a_turn, "I1"),
        (double_a_turn, "I2"),
        (turn_turns_round, "I3"),
        (see_no_end, "I5"),
        (forget_a_row, "I7"),
        (leave_a_row_open, "I7"),
        (bill_another_count, "I7"),
        (forget_a_relayed_row, "I7"),
        (bill_a_relayed_call_twice, "I7"),
        (estimate_a_relayed_call_that_was_counted, "I7"),
        (lose_a_file, "I1"),
        (make_a_file_twice, "I2"),
        (keep_a_deleted_file, "I1"),
        (cut_other_chunks, "I6"),
        (leave_a_file_half_indexed, "I6"),
        (leave_chunks_behind, "I6"),
    ],
)
def test_each_way_to_break_it_is_named(broken: Callable[[History], None], named: str) -> None:
    history = whole()
    broken(history)
    assert any(problem.startswith(named) for problem in violations(history))


def test_an_emptied_log_excuses_what_it_lost_before_its_end_and_nothing_else() -> None:
    history = whole()
    held = history.held["resp_1"]
    assert held is not None
    assert held.log is not None
    held.response.update(status="incomplete", output=[])
    end = event(1000, "response.incomplete", response=held.response)
    history.held["resp_1"] = Held(held.response, [end])
    history.stopped.clear()
    history.watches[0].events[3:] = [end]
    assert any(problem.startswith("I3") for problem in violations(history))
    history.forgetful = True
    assert violations(history) == []
    history.watches[0].events[3:] = [event(1000, "response.incomplete", response={})]
    assert any(problem.startswith("I3") for problem in violations(history))


def test_a_resume_counts_where_its_event_was_there_and_nothing_was_away() -> None:
    history = History(outages=[Outage(SERVER, "killed", 10, 11), Outage("redis", "frozen", 20, 21)])
    history.resumes = [
        Resume(SERVER, 1.0, 1.5, behind=True),
        Resume(SERVER, 1.0, 9.0, behind=False),  # the event was not made yet
        Resume(SERVER, 10.5, 11.5, behind=True),
        Resume("http://other", 10.5, 11.5, behind=True),
        Resume("http://other", 22.0, 22.5, behind=True),  # its connection to the store may not be back
    ]
    assert resumes_s(history) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("outages", "expected"),
    [
        ([], []),
        ([Outage(SERVER, "killed", 10, 11)], [16.0]),
        ([Outage("http://other", "killed", 10, 11)], []),
        ([Outage(SERVER, "killed", 10, 11), Outage("postgresql", "frozen", 12, 15)], [11.0]),
        ([Outage(SERVER, "killed", 10, 11), Outage("http://other", "killed", 13, 14)], [15.0]),  # nobody else judged
    ],
)
def test_an_orphans_time_begins_when_somebody_could_take_it_over(outages: list[Outage], expected: list[float]) -> None:
    history = History(outages=outages, watches=[Watch("k", "resp_1", SERVER, 5.0, 26.0)])
    assert orphans_s(history, servers=2) == expected


def test_an_orphan_that_takes_longer_than_is_promised_shows() -> None:
    history = History(outages=[Outage(SERVER, "killed", 10, 11)], watches=[Watch("k", "resp_1", SERVER, 5.0, 60.0)])
    assert orphans_s(history, servers=3) == [50.0]


def test_percentiles_come_from_counts() -> None:
    measured = counted([0.0011, 0.002, 0.0015, 0.2])
    assert measured == {"2": 3, "200": 1}
    assert [percentile(measured, share) for share in (0.5, 0.75, 0.99)] == [2, 2, 200]
    assert percentile({}, 0.5) is None


def test_the_lines_of_rounds_add_up() -> None:
    line: Line = {"kills": 2, "faults": {"server killed": 2}, "responses": 3, "violations": [], "resume_ms": {"5": 1}}
    said = summary([line, {**line, "violations": ["I4 resp_1: two"], "resume_ms": {"5": 1, "9": 1}}])
    assert said.startswith("2 rounds: 4 kills, 6 responses")
    assert "4 server killed" in said
    assert "I4 1" in said
    assert "resume: p50 5 ms, p99 9 ms, max 9 ms, of 3" in said
