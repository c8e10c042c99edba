"""Text frames of a Responses socket: read as JSON, and events with their lane's name in them."""

from typing import TypeVar

import msgspec

from chatbackend.adapters.wire.socket_lanes import Lane
from chatbackend.domain.errors import InvalidRequest

Shape = TypeVar("Shape")


def decoded(decoder: "msgspec.json.Decoder[Shape]", text: str) -> Shape:
    """Read a frame. Raises: InvalidRequest `invalid_json`."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The frame must be a JSON object: {error}.", code="invalid_json") from error
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        detail = str(error) if isinstance(error, msgspec.DecodeError) else "it is nested too deeply or not Unicode"
        raise InvalidRequest(f"The frame is not valid JSON: {detail}.", code="invalid_json") from error


def with_lane(event: bytes, lane: Lane) -> bytes:
    """Put a lane's name into a rendered event, without reading it. A lane's name needs no escaping."""
    return event if lane is None else b'%b,"stream_id":"%b"}' % (event[:-1], lane.encode())
