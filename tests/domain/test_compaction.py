"""A conversation made short: the transcript that a model reads, and the seal that only we open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.compaction import expanded, is_ours, seal, transcript
from chatbackend.domain.context import characters
from chatbackend.domain.items import (
    Compaction,
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Message,
    OutputText,
    Reasoning,
    Refusal,
    text_of,
)


def test_a_transcript_tells_everything_that_was_said_and_done() -> None:
    assert transcript(
        [
            Message("1", "developer", [InputText("Be kind.")]),
            Message("2", "user", [InputText("What is this?"), InputImage("data:,"), InputFile("f", "a.pdf")]),
            Reasoning("3"),
            FileSearchCall("4", ["cats", "dogs"]),
            FunctionCall("5", "c1", "look", '{"at": 1}'),
            FunctionCallOutput("6", "c1", "a cat"),
            FunctionCallOutput("7", "c1", [InputText("a dog"), InputFile()]),
            Message("8", "assistant", [OutputText("A cat."), Refusal("No more.")]),
            Compaction("9", seal("They like cats.")),
        ]
    ) == "\n\n".join(
        [
            "developer: Be kind.",
            "user: What is this?\n[an image]\n[a file: a.pdf]",
            "assistant searches the files: cats; dogs",
            'assistant calls look: {"at": 1}',
            "tool returns: a cat",
            "tool returns: a dog\n[a file: unnamed]",
            "assistant: A cat.\nNo more.",
            "Summary of our conversation so far:\nThey like cats.",
        ]
    )


@given(st.text())
def test_a_summary_survives_its_seal_and_speaks_as_the_user(summary: str) -> None:
    item = Compaction("cmp_1", seal(summary))
    told = expanded(item)
    assert is_ours(item)
    assert (told.id, told.role) == ("cmp_1", "user")
    assert text_of(told).endswith(summary)
    assert characters([item]) == len(text_of(told))


@pytest.mark.parametrize("sealed", ["", "gAAAA", seal("x")[:-1], seal("x") + "!", "chatbackend.summary._w=="])
def test_another_services_seal_is_not_ours(sealed: str) -> None:
    assert not is_ours(Compaction("cmp_1", sealed))
