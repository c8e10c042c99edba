"""What a relayed session may be configured to be, and how its configuration is shown: whose model, tools and words.

A model cannot be changed, and goes by the name that the client asked by; what the client's secret holds the session to
is put in, and not shown.
"""

from collections.abc import Collection

from chatbackend.adapters.realtime.frames import Event, as_object
from chatbackend.adapters.realtime.relay.held import Held
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.adapters.realtime.relay.transcriber import BETA_UPDATE, UPDATES, Transcriber
from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import Dialect, SessionKind

_PLACES = {"session.update": "session", BETA_UPDATE: "session", "response.create": "response"}


class Configuring:
    """One session's. `model` is the name that the client asked by, `allowed` are those that it may use."""

    def __init__(
        self, model: str, dialect: Dialect, held: Held, *, kind: SessionKind, allowed: Collection[str] | None
    ) -> None:
        self._model = model
        self._dialect: Dialect = dialect
        self._held = held
        self._kind: SessionKind = kind
        self._transcriber = None
        if kind != "realtime":
            self._transcriber = Transcriber(model if kind == "transcription" else None, allowed)

    def setup(self, provider: Provider) -> Event | None:
        """Return what the provider is told first, in GA; None where that is nothing. Raises: Forbidden."""
        setup = self._held.setup(self._kind)
        if setup is None or self._transcriber is None:
            return setup
        return {**setup, "session": self._transcriber.told(setup["session"], "ga", provider.transcriber)}

    def judged(self, event: Event, kind: str, provider: Provider) -> Event:
        """Return a client's event as far as it may go: the same object where nothing had to be changed.

        Raises: InvalidRequest, Forbidden.
        """
        if kind == BETA_UPDATE and self._kind != "transcription":
            message = "This session is not for transcription alone; connect with intent=transcription for one."
            raise InvalidRequest(message, param="type", code="unsupported_event")
        if kind == "session.update":
            event = self._with_our_model(event, provider)
        place = _PLACES.get(kind, "")
        given = as_object(event.get(place))
        if given is None:
            return event
        if self._transcriber is not None and kind == UPDATES[self._dialect]:
            return {**event, place: self._transcriber.told(given, self._dialect, provider.transcriber)}
        if not self._held.acts:
            return event
        checked = self._held.checked(given)
        return event if checked is given else {**event, place: checked}

    def shown(self, session: Event, dialect: Dialect) -> Event:
        """Return a provider's configuration as its client is shown it; the same object where that is the same."""
        shown = self._held.shown(session)
        if self._transcriber is not None:
            shown = self._transcriber.shown(session, dialect)
        if self._kind == "transcription" or session.get("model") == self._model:  # the former has no model of its own
            return shown
        return {**shown, "model": self._model}

    def refused(self) -> None:
        """Take note that the provider may have refused a configuration."""
        if self._transcriber is not None:
            self._transcriber.refused()

    def _with_our_model(self, event: Event, provider: Provider) -> Event:
        """Leave out the model of an update where it is the session's. Raises: Forbidden for another one."""
        session = as_object(event.get("session"))
        if session is None or "model" not in session:
            return event
        if session["model"] not in provider.names and session["model"] != self._model:
            message = f"This session is with '{self._model}'; for another model, connect again."
            raise Forbidden(message, param="session.model", code="model_not_allowed")
        return {**event, "session": {name: value for name, value in session.items() if name != "model"}}
