"""Who writes down what is said in a session: named by us to its client, and by its provider's name to the provider.

A session for transcription is opened without a model: it is told one in its configuration, and only there.
Source: OpenAI's guide to realtime transcription; Azure's realtime reference (it wants the name of a deployment).
"""

from collections.abc import Callable, Collection

from chatbackend.adapters.realtime.frames import Event, as_object
from chatbackend.domain.errors import Forbidden
from chatbackend.domain.realtime import Dialect

BETA_UPDATE = "transcription_session.update"
Find = Callable[[str], str | None]
UPDATES = {"ga": "session.update", "beta": BETA_UPDATE}
_PLACES = {"ga": ("audio", "input", "transcription"), "beta": ("input_audio_transcription",)}


class Transcriber:
    """One session's. `allowed` are the public names that its client may use.

    `model` is the one that it asked by; None where nothing is written down unless a configuration says so.
    """

    def __init__(self, model: str | None, allowed: Collection[str] | None = None) -> None:
        self._model = model
        self._allowed = allowed
        self._chosen = self._confirmed = False
        self._shown: dict[str, str] = {}  # the provider's name -> the client's

    def told(self, session: Event, dialect: Dialect, find: Find) -> Event:
        """Return a configuration of the client's with the provider's name for the model.

        The first one has the session's model where it names none; later ones leave it as it is. Raises: Forbidden.
        """
        place = _PLACES[dialect]
        inner = _at(session, place)
        if inner is None or ("model" not in inner and self._chosen):
            return session
        name = inner.get("model", self._model)
        if not isinstance(name, str):
            return session
        found = self._found(name, find)
        self._chosen = True
        self._shown[found] = name
        return _with(session, place, {**inner, "model": found})

    def shown(self, session: Event, dialect: Dialect) -> Event:
        """Return a provider's configuration with the client's name for the model; the same object where nothing is."""
        place = _PLACES[dialect]
        inner = _at(session, place)
        name = None if inner is None else inner.get("model")
        self._confirmed = isinstance(name, str)
        known = self._shown.get(name) if isinstance(name, str) else None
        if inner is None or known is None or known == name:
            return session
        return _with(session, place, {**inner, "model": known})

    def refused(self) -> None:
        """Take note that the provider may have refused a configuration: what it has not shown was not chosen."""
        self._chosen = self._confirmed

    def _found(self, name: str, find: Find) -> str:
        found = find(name) if self._allowed is None or name in self._allowed else None
        if found is None:
            message = f"'{name}' cannot write down what is said in this session."
            raise Forbidden(message, param="session.audio.input.transcription.model", code="model_not_allowed")
        return found


def _at(session: Event, place: tuple[str, ...]) -> Event | None:
    """Return what is at a place, empty where nothing is; None where something else is, null say."""
    for name in place:
        inner = as_object(session.get(name, {}))
        if inner is None:
            return None
        session = inner
    return session


def _with(session: Event, place: tuple[str, ...], value: Event) -> Event:
    name, *rest = place
    if not rest:
        return {**session, name: value}
    return {**session, name: _with(as_object(session.get(name)) or {}, tuple(rest), value)}
