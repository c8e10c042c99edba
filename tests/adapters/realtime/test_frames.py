"""The type of a frame, told by its beginning only where no parser would read another."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.realtime.frames import parsed, peek, peek_strictly, retyped, said, size, written
from chatbackend.domain.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a", "x\\"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ('{"type":"response.create"}', "response.create"),
        (' {"type":"x"}', None),
        ('{ "type" :\n"a.b_c2" , "x":1}', "a.b_c2"),
        ('{"event_id":"e","type":"a"}', "a"),
        ('{"x":1,"type":"a"}', None),
        ('{"type":"A"}', None),
        (b'{"type":"a"}', None),
    ],
)
def test_the_type_is_seen_at_the_beginning(frame: str | bytes, kind: str | None) -> None:
    assert peek(frame) == kind


@pytest.mark.parametrize(
    "frame",
    ['{"type":"a","type":"b"}', '{"type":"a","\\u0074ype":"b"}', '{"type":"a","x":{"type":"b"}}', b'{"type":"a"}'],
)
def test_what_might_be_of_another_type_has_to_be_parsed(frame: str | bytes) -> None:
    assert peek_strictly(frame) is None


@given(JSON, st.sampled_from([None, 1]))
def test_what_is_peeked_at_strictly_is_what_a_parser_reads(value: object, indent: int | None) -> None:
    frame = json.dumps(value, indent=indent)
    kind = peek_strictly(frame)
    assert kind is None or parsed(frame)["type"] == kind


@pytest.mark.parametrize("frame", ["", "[]", "1", '{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', b"\xff", "[" * 100_000])
def test_what_is_no_object_with_unique_keys_is_refused(frame: str | bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(frame)
    assert refused.value.code == "invalid_json"


def test_a_provider_is_read_leniently() -> None:
    assert said(b'{"a":1,"a":2}') == {"a": 2}
    assert [said(frame) for frame in ("[]", "x", b"\xff", "[" * 100_000)] == [None] * 4


def test_an_event_is_written_as_text_or_binary_like_another() -> None:
    assert (written({"a": "é"}), written({"a": 1}, like=b"")) == ('{"a":"é"}', b'{"a":1}')


def test_a_type_is_changed_and_nothing_else() -> None:
    assert retyped('{ "type": "a.b", "x": 1.0}', "c") == '{ "type": "c", "x": 1.0}'
    assert retyped('{"x":1,"type":"a"}', "c") == '{"x":1,"type":"a"}'


@given(st.text() | st.binary())
def test_a_frame_has_at_most_its_size(frame: str | bytes) -> None:
    assert size(frame) >= len(frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame)
