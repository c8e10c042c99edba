"""A file's stage is told in the words of the API."""

import pytest

from chatbackend.domain.uploads import File, Stage


def file(stage: Stage) -> File:
    return File("f", "t", "o", "a.txt", "assistants", 1, "", "text/plain", "text", True, "b", 0, stage=stage)


@pytest.mark.parametrize(
    ("stage", "status", "ended"),
    [
        ("queued", "uploaded", False),
        ("parsing", "uploaded", False),
        ("indexing", "uploaded", False),
        ("ready", "processed", True),
        ("failed", "error", True),
    ],
)
def test_a_stage_has_a_status(stage: Stage, status: str, ended: bool) -> None:  # noqa: FBT001 - a table of cases
    assert (file(stage).status, file(stage).ended) == (status, ended)
