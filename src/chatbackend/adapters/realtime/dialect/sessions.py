"""Configurations of sessions and responses, from the beta protocol's flat shape to GA's nested one, and back.

A field that is not there stays so: an update changes what it names and nothing else. `temperature` has no word in GA:
it is left out there, and told to a beta client as the value that the beta protocol had by default.
Source: the `openai` package, types/beta/realtime/session.py and types/realtime/realtime_session_create_request.py.
"""

from collections.abc import Mapping
from typing import Any

from chatbackend.adapters.realtime.frames import Event, as_list, as_object

TEMPERATURE = 0.8
_FORMATS: dict[str, Event] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_OLD_FORMATS = {shape["type"]: name for name, shape in _FORMATS.items()}
# Where a flat field is in the nested shape.
_NESTED: dict[str, tuple[str, str]] = {
    "input_audio_format": ("input", "format"),
    "input_audio_transcription": ("input", "transcription"),
    "input_audio_noise_reduction": ("input", "noise_reduction"),
    "turn_detection": ("input", "turn_detection"),
    "output_audio_format": ("output", "format"),
    "voice": ("output", "voice"),
    "speed": ("output", "speed"),
}
_FLAT = frozenset((*_NESTED, "modalities", "temperature"))
_DEEP = frozenset(("type", "audio", "output_modalities", "max_output_tokens"))


def to_ga(flat: Mapping[str, Any], *, tokens: str = "max_response_output_tokens") -> Event:
    """Return a beta configuration in GA's shape; `tokens` is what it calls the limit of an answer.

    Fields that beta does not know pass as they are: who reads them refuses them by their names.
    """
    shaped = {name: value for name, value in flat.items() if name not in _FLAT and name != tokens}
    if "modalities" in flat:
        shaped["output_modalities"] = _ga_modalities(flat["modalities"])
    if tokens in flat:
        shaped["max_output_tokens"] = flat[tokens]
    audio: dict[str, Event] = {}
    for name, (side, inner) in _NESTED.items():
        if name in flat:
            value = flat[name]
            audio.setdefault(side, {})[inner] = _ga_format(value) if inner == "format" else value
    return {**shaped, "audio": audio} if audio else shaped


def to_beta(nested: Mapping[str, Any], *, tokens: str = "max_response_output_tokens") -> Event:
    """Return a GA configuration in the beta protocol's shape; the reverse of `to_ga`."""
    shaped = {name: value for name, value in nested.items() if name not in _DEEP}
    if "output_modalities" in nested:
        shaped["modalities"] = _beta_modalities(nested["output_modalities"])
    if "max_output_tokens" in nested:
        shaped[tokens] = nested["max_output_tokens"]
    audio = as_object(nested.get("audio")) or {}
    for name, (side, inner) in _NESTED.items():
        inside = as_object(audio.get(side)) or {}
        if inner in inside:
            value = inside[inner]
            shaped[name] = _beta_format(value) if inner == "format" else value
    return shaped


def _ga_modalities(value: object) -> object:
    """GA answers in one modality: audio has its transcript with it."""
    return ["audio"] if "audio" in (as_list(value) or ()) else value


def _beta_modalities(value: object) -> object:
    return ["text", "audio"] if value == ["audio"] else value


def _ga_format(value: object) -> object:
    return _FORMATS.get(value, value) if isinstance(value, str) else value


def _beta_format(value: object) -> object:
    kind = (as_object(value) or {}).get("type")
    return _OLD_FORMATS.get(kind, value) if isinstance(kind, str) else value
