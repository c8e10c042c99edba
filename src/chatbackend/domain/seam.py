"""Where one model goes on in the middle of another's answer: nothing is said twice, nothing is left out."""

MIN_ECHO = 20  # characters; a shorter beginning may well be said again on purpose


class Seam:
    """Joins the continuation of `said` to it.

    The continuing model is given `said` without the white space at its end (some refuse that); it may bring that white
    space again, or repeat all that was said. Either is dropped.
    """

    def __init__(self, said: str) -> None:
        self.given = said.rstrip()
        self._space = said[len(self.given) :]
        self._echo = said if len(said) >= MIN_ECHO else ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what of `text` is new, "" while that is not yet known."""
        if self._echo:
            self._held += text
            if self._echo.startswith(self._held):
                return self._repeated() if self._held == self._echo else ""
            if self._held.startswith(self._echo):
                return self._after_echo()
            text, self._held, self._echo = self._held, "", ""
        return self._without_space(text)

    def end(self) -> str:
        """Return what was held back."""
        held, self._held, self._echo = self._held, "", ""
        return self._without_space(held)

    def _repeated(self) -> str:
        self._held = self._echo = self._space = ""
        return ""

    def _after_echo(self) -> str:
        new = self._held[len(self._echo) :]
        self._repeated()
        return new

    def _without_space(self, text: str) -> str:
        while text and self._space and text[0] == self._space[0]:
            text, self._space = text[1:], self._space[1:]
        if text:
            self._space = ""
        return text
