"""Facts about models, by their names."""

from typing import Any

import pytest

from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.family import Family, overridden, profile_of, variable_of
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.models import ModelProfile
from chatbackend.infra.registry import FAMILIES

FOO = Family(
    "foo",
    "FOO",
    ChatCodec,
    ModelProfile(max_output_tokens=7),
    (("^big", {"context_window": 9}), ("vision", {"accepts_images": False}), ("^big-2", {"context_window": 99})),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unknown", (128_000, True)),
        ("big", (9, True)),
        ("BIG-Vision", (9, False)),
        ("big-2-vision", (99, False)),
    ],
)
def test_every_pattern_that_is_found_changes_the_facts_in_order(name: str, expected: tuple[int, bool]) -> None:
    profile = profile_of(FOO, name)
    assert (profile.context_window, profile.accepts_images) == expected
    assert profile.max_output_tokens == 7


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_built_in_fact_is_one(family: Family) -> None:
    for _, said in family.facts:
        overridden(family.profile, said)


def test_what_is_written_overrides_what_is_known() -> None:
    said: dict[str, Any] = {"context_window": 8192, "refuses": ["stop"], "thinking": "none", "default_max_tokens": None}
    profile = overridden(ModelProfile(accepts_tools=False, default_max_tokens=5), said)
    assert profile == ModelProfile(
        accepts_tools=False, context_window=8192, refuses=frozenset(("stop",)), thinking="none"
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"contxt_window": 1}, "'contxt_window' is no fact"),
        ({"context_window": "big"}, "'context_window': Expected `int`"),
        ({"context_window": 0}, "'context_window': Expected a number of 1 or more"),
        ({"accepts_tools": 1}, "'accepts_tools': Expected `bool`"),
        ({"thinking": "hard"}, "'thinking': Invalid enum value 'hard'"),
        ({"refuses": "stop"}, "'refuses': Expected `array`"),
    ],
)
def test_a_fact_that_is_none_is_refused_by_its_name(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        overridden(ModelProfile(), said)


def test_the_api_chooses_the_dialect() -> None:
    assert isinstance(OPENAI.codec_for("responses", ModelProfile()), ResponsesCodec)
    assert isinstance(OPENAI.codec_for("chat", ModelProfile()), ChatCodec)
    assert isinstance(OPENAI.codec_for("", ModelProfile()), ChatCodec)


def test_a_package_says_its_variables_by_its_name() -> None:
    assert variable_of("my-nimbus") == "MY_NIMBUS"
