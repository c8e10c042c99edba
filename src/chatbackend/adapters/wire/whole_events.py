"""A relayed stream cut behind its events: what broke off inside one is never shown, so that an error can follow."""

MAX_HELD_BYTES = 1 << 20  # of an event that has not ended


class WholeEvents:
    """Holds back the beginning of an event until its end is there; `rest` is what is held."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what is whole, and anything that is too much to hold."""
        if not self.rest and chunk.endswith(b"\n\n"):  # as nearly all come
            return chunk
        found = self.rest + chunk
        at = max(found.rfind(b"\n\n") + 2, found.rfind(b"\n\r\n") + 3)
        if at < 3:
            at = len(found) if len(found) > MAX_HELD_BYTES else 0
        self.rest = found[at:]
        return found[:at]
