"""A response from its creation to its terminal event: every end, in the order of truth."""

from typing import Any

import anyio
import pytest

from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.events import (
    Finished,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import FileSearchCall, FunctionCall, Message, OutputText, text_of
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import CANCELLED, Response
from chatbackend.domain.usage import Usage
from chatbackend.usecases.ask_model import Asking
from chatbackend.usecases.journal import Journal
from chatbackend.usecases.ports import Fenced, LogEvent
from tests.support.fakes import ME, Step, forever, stage
from tests.support.garbage import alive, uncollected

pytestmark = pytest.mark.anyio

HELLO: list[Step] = [TextDelta("Hel"), TextDelta("lo"), UsageReported(Usage(3, 2)), Finished("stop")]
SEARCH = {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}
TEA = Passage("file-1", "a.pdf", 10, 13, "Tea", 0.9, page=2)


def answer(found: Response) -> str:
    return "".join(text_of(item) for item in found.output)


async def test_an_answer_is_streamed_stored_and_settled() -> None:
    async with stage(HELLO) as on:
        found = await on.answered("hi", instructions="Be brief.")
        assert (found.status, answer(found), found.usage) == ("completed", "Hello", Usage(3, 2))
        assert await on.types(found.id) == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
        assert on.truth.states() == ["completed"]
        [request] = on.model.requests
        assert (request.model, request.instructions) == ("upstream-m", "Be brief.")
        assert [text_of(item) for item in request.items] == ["hi"]
        assert on.model.hung_up == 1


async def test_events_are_numbered_without_a_gap_and_the_last_tells_what_is_stored() -> None:
    async with stage(HELLO) as on:
        found = await on.answered()
        events = await on.events(found.id)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == answer(found)
        assert events[0]["response"]["status"] == "in_progress"


async def test_the_truth_is_committed_before_the_world_hears_of_it() -> None:
    async with stage(HELLO) as on:
        response_id = (await on.answered()).id
        happened = on.happened
        first_output = next(step for step in happened if "output_item.added" in step)
        last = f"log {len(await on.events(response_id)) - 1} response.completed"
        begun, started, finished = f"begin {response_id}", f"start {response_id} 1", f"finish {response_id} completed"
        order = [happened.index(step) for step in (begun, started, first_output, finished, last)]
        assert order == sorted(order)
        assert happened[-1] == last


@pytest.mark.parametrize(
    ("reason", "status", "incomplete"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("refusal", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
async def test_every_reason_of_an_end_has_its_status(reason: FinishReason, status: str, incomplete: str | None) -> None:
    async with stage([TextDelta("Hello"), Finished(reason)]) as on:
        found = await on.answered()
        assert (found.status, found.incomplete_reason, answer(found)) == (status, incomplete, "Hello")
        assert (await on.types(found.id))[-1] == status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("The provider failed."), "server_error"),
        (UpstreamTimeout("The provider fell silent."), "server_error"),
        (UpstreamCut("The provider hung up."), "server_error"),
        (UpstreamDenied("The provider refuses our key."), "server_error"),
        (UpstreamOverloaded("The provider asks for patience."), "rate_limit_exceeded"),
        (UpstreamRefused("The provider refuses this."), "invalid_prompt"),
        (InvalidRequest("This model accepts no images."), "invalid_prompt"),
    ],
)
async def test_an_error_of_the_provider_fails_the_response_and_keeps_what_came(error: ChatError, code: str) -> None:
    async with stage([TextDelta("Hel"), error]) as on:
        found = await on.answered()
        assert (found.status, answer(found), found.output[0].status) == ("failed", "Hel", "incomplete")
        assert found.failure is not None
        assert (found.failure.code, found.failure.message) == (code, error.message)
        assert (await on.types(found.id))[-2:] == ["output_item.done", "failed"]
        assert on.truth.states() == ["failed"]
        assert found.usage is not None
        assert found.usage.estimated


async def test_a_cut_answer_is_billed_for_all_that_came() -> None:
    async with stage([UsageReported(Usage(30, 1)), TextDelta("x" * 80), UpstreamCut("The provider hung up.")]) as on:
        assert (await on.answered()).usage == Usage(30, 20, estimated=True)


async def test_an_answer_that_just_stops_is_no_answer() -> None:
    async with stage([TextDelta("Hel")]) as on:
        found = await on.answered()
        assert found.status == "failed"
        assert found.failure is not None
        assert "before its end" in found.failure.message


async def test_a_failure_of_ours_is_reported_and_not_told() -> None:
    async with stage([TextDelta("Hel"), ZeroDivisionError("secret detail")]) as on:
        found = await on.answered()
        assert found.failure is not None
        assert (found.status, found.failure.code) == ("failed", "server_error")
        assert "secret" not in found.failure.message
        assert [type(error) for _, error in on.reports] == [ZeroDivisionError]


async def test_a_generation_that_takes_too_long_ends_incomplete() -> None:
    async with stage([TextDelta("Hel"), forever], deadline_s=0.05) as on:
        found = await on.answered()
        assert (found.status, found.detail, answer(found)) == ("incomplete", "deadline_exceeded", "Hel")
        assert on.model.hung_up == 1


async def test_calls_of_functions_are_kept_as_items() -> None:
    async with stage(
        [ToolCallStarted("c1", "add"), ToolCallDelta('{"a":1}'), Finished("tool_calls"), UsageReported(Usage(1, 1))]
    ) as on:
        found = await on.answered(tools=[{"type": "function", "name": "add"}])
        assert [item for item in found.output if isinstance(item, FunctionCall) and item.arguments == '{"a":1}']
        assert [tool.name for tool in on.model.requests[0].tools] == ["add"]


async def test_a_refusal_is_a_completed_answer() -> None:
    async with stage([RefusalDelta("No."), Finished("refusal")]) as on:
        assert (await on.answered()).status == "completed"


async def test_what_the_model_cannot_take_of_the_context_fails_before_any_call() -> None:
    image = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]
    async with stage(HELLO) as on:
        first = await on.answered(input=image)
        on.model.profile = ModelProfile(accepts_images=False)
        found = await on.answered("and now?", previous_response_id=first.id)
        assert found.failure is not None
        assert (found.failure.code, found.usage) == ("invalid_prompt", None)
        assert len(on.model.requests) == len(on.truth.ledger) == 1


async def test_usage_that_the_provider_did_not_tell_is_estimated() -> None:
    async with stage([TextDelta("x" * 8), Finished("stop")]) as on:
        assert (await on.answered("y" * 12)).usage == Usage(3, 2, estimated=True)


async def test_a_search_is_shown_before_the_answer_that_it_grounds() -> None:
    said: list[Step] = [TextDelta("Drink tea【"), TextDelta("1】."), Finished("stop")]
    async with stage(said, passages=[TEA]) as on:
        found = await on.answered("tea?", include=["file_search_call.results"], **SEARCH)
        search, message = found.output
        assert isinstance(search, FileSearchCall)
        assert isinstance(message, Message)
        assert search.queries == ["tea?"]
        assert [hit.text for hit in search.results or ()] == ["Tea"]
        [part] = message.content
        assert isinstance(part, OutputText)
        assert part.text == "Drink tea."
        assert [note.index for note in part.annotations if note.type == "file_citation"] == [9]
        assert "【1】 a.pdf, page 2\nTea" in (on.model.requests[0].instructions or "")
        types = await on.types(found.id)
        assert types[2:7] == [
            "output_item.added",
            "file_search_call.in_progress",
            "file_search_call.searching",
            "file_search_call.completed",
            "output_item.done",
        ]


async def test_results_of_a_search_are_kept_back_unless_asked_for() -> None:
    async with stage(HELLO, passages=[TEA]) as on:
        found = await on.answered("tea?", **SEARCH)
        assert [item.results for item in found.output if isinstance(item, FileSearchCall)] == [None]


@pytest.mark.parametrize("body", [{"tool_choice": "none"}, {"input": [{"role": "system", "content": "x"}]}])
async def test_nothing_is_searched_where_it_is_not_wanted_or_nothing_is_asked(body: dict[str, Any]) -> None:
    async with stage(HELLO, passages=[TEA]) as on:
        await on.answered("tea?", **SEARCH | body)
        assert on.search.asked == []


async def test_a_search_that_fails_costs_no_call() -> None:
    async with stage(HELLO) as on:
        on.search.error = NotFound("No vector store 'vs_1'.")
        found = await on.answered("tea?", **SEARCH)
        assert found.failure is not None
        assert (found.status, found.failure.code) == ("failed", "invalid_prompt")
        assert (on.truth.ledger, on.model.requests, found.usage) == ({}, [], None)


async def test_output_in_the_log_means_that_a_call_was_started() -> None:
    """Recovery runs again what has a started call and no output; never what has output."""
    async with stage(HELLO, passages=[TEA]) as on:
        on.trouble.plan("start", Unavailable("full"))
        found = await on.answered("tea?", **SEARCH)
        assert (found.status, found.output, on.model.requests) == ("failed", [], [])
        assert await on.types(found.id) == ["created", "in_progress", "failed"]


async def test_what_was_said_before_is_put_before_the_question() -> None:
    async with stage(HELLO) as on:
        first = await on.answered("one")
        await on.answered("two", previous_response_id=first.id)
        assert [text_of(item) for item in on.model.requests[1].items] == ["one", "Hello", "two"]


async def test_a_socket_that_knows_the_context_brings_it_along() -> None:
    async with stage(HELLO) as on:
        ask = on.ask("two", store=False)
        ask.local_context = [Message("msg_x", "user", [OutputText("one")])]
        created = await on.create(ask, ME)
        await on.ended(created.response_id)
        assert [text_of(item) for item in on.model.requests[0].items] == ["one", "two"]
        assert not any(step.startswith("context") for step in on.happened)


async def test_without_generation_a_response_completes_at_once() -> None:
    async with stage(HELLO) as on:
        found = await on.answered(generate=False)
        assert (found.status, found.output, on.model.requests) == ("completed", [], [])


async def test_turns_of_a_conversation_run_one_after_the_other_and_the_later_ones_are_queued() -> None:
    go_on = anyio.Event()
    async with stage([TextDelta("A"), go_on, Finished("stop")], [TextDelta("B"), Finished("stop")]) as on:
        ids = [await on.started(text, conversation="conv_1") for text in ("one", "two", "three")]
        await anyio.wait_all_tasks_blocked()
        assert len(on.model.requests) == 1
        assert [entry.response.status for entry in on.live.all_running()] == ["in_progress", "queued", "queued"]
        assert await on.types(ids[1]) == ["created", "queued"]
        go_on.set()
        for each in ids:
            await on.ended(each)
        asked = [[text_of(item) for item in request.items] for request in on.model.requests]
        assert asked == [["one"], ["one", "A", "two"], ["one", "A", "two", "B", "three"]]
        assert (await on.types(ids[1]))[:3] == ["created", "queued", "in_progress"]


async def test_an_unstored_response_leaves_its_events_in_memory_only() -> None:
    async with stage(HELLO) as on:
        found = await on.answered(store=False)
        assert (found.status, on.truth.rows) == ("completed", {})
        assert (await on.types(found.id, store=False))[-1] == "completed"
        assert await on.types(found.id) == []
        assert on.truth.states() == ["completed"]


async def test_the_end_is_saved_when_the_store_takes_it_again() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("finish", Unavailable("full"), Unavailable("full"))
        found = await on.answered()
        assert (found.status, answer(found)) == ("completed", "Hello")
        assert (await on.types(found.id)).count("completed") == 1
        assert len(on.reports) == 2
        assert on.truth.states() == ["completed"]


async def test_the_terminal_event_follows_when_the_log_takes_it_again() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("end", Unavailable("full"))
        found = await on.answered()
        assert (await on.types(found.id))[-1] == "completed"
        assert [step for step in on.happened if step.startswith("finish")] == [f"finish {found.id} completed"]


async def test_an_end_that_a_stopping_server_cannot_save_is_left_to_the_next_start() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("finish", Unavailable("full"))
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        on.live.close()
        await entry.done.wait()
        assert not entry.saved
        assert on.truth.rows[response_id].response.status == "in_progress"
        assert "completed" not in await on.types(response_id)


async def test_a_log_that_takes_nothing_fails_the_response_and_hangs_up() -> None:
    async with stage([TextDelta("Hel"), forever]) as on:
        on.trouble.plan("append", Unavailable("The log is full."))
        found = await on.answered()
        assert (found.status, on.model.hung_up) == ("failed", 1)
        assert (await on.types(found.id))[-1] == "failed"
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == list(range(len(numbers)))


async def test_a_stream_that_cannot_be_opened_fails_the_response_and_is_opened_for_its_end() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("open", Unavailable("full"))
        found = await on.answered()
        assert (found.status, await on.types(found.id)) == ("failed", ["created", "failed"])


async def test_an_owner_that_was_replaced_stops_at_once_and_writes_nothing_more() -> None:
    speaking, go_on = anyio.Event(), anyio.Event()

    async def spoke() -> None:
        speaking.set()

    async with stage([TextDelta("A"), spoke, go_on, TextDelta("B"), forever]) as on:
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await speaking.wait()
        await anyio.wait_all_tasks_blocked()
        await on.log.open(response_id, fence=2)
        go_on.set()
        with anyio.fail_after(5):
            await entry.done.wait()
        assert on.model.hung_up == 1
        assert not any(step.startswith("finish") for step in on.happened)
        assert not entry.saved
        assert "output_text.done" not in await on.types(response_id)


@pytest.mark.parametrize("moment", ["open", "end"])
async def test_an_owner_that_is_replaced_at_the_edges_writes_nothing_either(moment: str) -> None:
    async with stage(HELLO) as on:
        on.trouble.plan(moment, *[Fenced()] * 2)
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await entry.done.wait()
        assert "completed" not in await on.types(response_id)


async def test_a_process_that_stops_ends_its_responses_as_interrupted_first() -> None:
    speaking = anyio.Event()

    async def spoke() -> None:
        speaking.set()

    async with stage([TextDelta("Hel"), spoke, forever]) as on:
        response_id = await on.started()
        await speaking.wait()
        on.group.cancel_scope.cancel()
    found = on.truth.rows[response_id].response
    assert (found.status, found.detail, answer(found)) == ("incomplete", "interrupted", "Hel")
    assert (await on.types(response_id))[-1] == "incomplete"
    assert on.truth.states() == ["interrupted"]


async def test_a_process_that_stops_before_a_response_began_ends_it_all_the_same() -> None:
    async with stage(HELLO) as on:
        response_id = await on.started()
        on.group.cancel_scope.cancel()
    assert on.truth.rows[response_id].response.detail == "interrupted"
    types = await on.types(response_id)
    assert (types[0], types[-1]) == ("created", "incomplete")


async def test_a_response_that_is_deleted_while_it_runs_leaves_nothing_behind() -> None:
    speaking = anyio.Event()

    async def spoke() -> None:
        speaking.set()

    async with stage([TextDelta("Hel"), spoke, anyio.Event(), TextDelta("lo")]) as on:
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await speaking.wait()
        assert await on.truth.delete(ME, response_id)
        await on.log.delete(response_id)
        entry.stop(CANCELLED)
        await entry.done.wait()
        assert (on.truth.rows, await on.extent(response_id), on.reports) == ({}, None, [])
        assert on.truth.states() == ["cancelled"]


async def test_a_failure_that_nobody_foresaw_does_not_keep_anyone_waiting() -> None:
    class Broken(ResponseEvents):
        def lifecycle(self, kind: str, response: Response, number: int) -> LogEvent:
            if kind == "response.completed":
                raise ZeroDivisionError
            return super().lifecycle(kind, response, number)

    async with stage(HELLO, renderer=Broken()) as on:
        first = await on.started("one", conversation="conv_1")
        second = await on.started("two", conversation="conv_1")
        for response_id in (first, second):
            await on.ended(response_id)
        assert on.live.all_running() == []
        assert [type(error) for _, error in on.reports] == [ZeroDivisionError] * 2


async def test_more_numbers_are_reserved_before_they_are_used() -> None:
    said: list[Step] = [*[TextDelta(str(number)) for number in range(1_500)], Finished("stop")]
    async with stage(said) as on:
        found = await on.answered()
        assert f"reserve {found.id} 2000" in on.happened
        reserved = on.happened.index(f"reserve {found.id} 2000")
        beyond = next(
            place for place, step in enumerate(on.happened) if step.startswith("log ") and int(step.split()[1]) >= 1_000
        )
        assert reserved < beyond
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 1_500


async def test_a_store_that_is_away_for_a_moment_ends_no_stream_that_needs_more_numbers() -> None:
    said: list[Step] = [*[TextDelta("x") for _ in range(1_500)], Finished("stop")]
    async with stage(said) as on:
        on.trouble.plan("reserve", Unavailable("restarting"))
        found = await on.answered()
        assert (found.status, on.reports) == ("completed", [])


async def test_a_server_that_stops_does_not_wait_for_more_numbers() -> None:
    said: list[Step] = [*[TextDelta("x") for _ in range(1_500)], forever]
    async with stage(said) as on:
        on.trouble.plan("reserve", *[Unavailable("restarting")] * 2)
        response_id = await on.started()
        on.live.close()
        found = await on.ended(response_id)
        assert not found.ended  # the next start, or another server, ends it


async def test_whoever_lost_a_response_before_it_dials_does_not_dial() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("start", Fenced())
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await on.ended(response_id)
        assert (entry.fenced, on.model.requests) == (True, [])


async def test_nothing_of_a_response_that_has_ended_waits_for_the_garbage_collector() -> None:
    async with stage(HELLO, prompt=True) as on:
        with uncollected():
            before = alive(Asking, Journal)
            await on.answered("hi")
            await anyio.wait_all_tasks_blocked()
            assert alive(Asking, Journal) == before
