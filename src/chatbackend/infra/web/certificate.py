"""The certificate that the server proves itself with: read from files, and read again when they change.

Every handshake is given what holds at that time; a connection keeps what it began with.
Source: RFC 6066 section 3, for the callback that picks a certificate; it comes without a server name, too.
"""

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import anyio
import anyio.to_thread
import structlog

LOOK_S = 5.0
_State = tuple[tuple[int, int, int], ...]
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


class BadCertificate(Exception):
    """A certificate that cannot be used; the message says why and names the file."""


class Certificate:
    """A chain and its key, both PEM; `key` may be the same file. Raises: BadCertificate."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._seen = self._state()
        self.context = self._newest = self._loaded()
        self.context.sni_callback = self._pick

    async def keep_fresh(self) -> None:
        """Look at the files every few seconds, until cancelled. One that cannot be used changes nothing."""
        while True:
            await anyio.sleep(LOOK_S)
            try:
                await anyio.to_thread.run_sync(self.look)
            except BadCertificate as error:
                _log.error("the renewed certificate cannot be used", why=str(error))

    def look(self) -> None:
        """Load the files if they have changed since they were last looked at. Raises: BadCertificate."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            self._newest = self._loaded()
            _log.info("the certificate was renewed", file=str(self._chain))

    def valid_until(self) -> datetime:
        """Return when the certificate expires. Raises: BadCertificate for one that has, or is not valid yet."""
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted
        trusting.load_verify_locations(self._chain)
        try:
            shown = _shake_hands(self._newest, trusting)
        except ssl.SSLCertVerificationError as error:
            raise BadCertificate(f"'{self._chain}': {error.verify_message}") from error
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)

    def _pick(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _state(self) -> _State:
        """Return what tells a file from what took its place."""
        try:
            found = [path.stat() for path in (self._chain, self._key)]
        except OSError as error:
            raise BadCertificate(f"'{error.filename}' cannot be read ({error.strerror})") from error
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def _loaded(self) -> ssl.SSLContext:
        for path in (self._chain, self._key):
            try:
                path.read_bytes()
            except OSError as error:
                raise BadCertificate(f"'{path}' cannot be read ({error.strerror})") from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._chain, self._key, partial(_unasked, self._key))
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise BadCertificate(f"the key in '{self._key}' is not that of '{self._chain}'") from error
            raise BadCertificate(f"no PEM certificate with its key in '{self._chain}' and '{self._key}'") from error
        return context


def _unasked(key: Path) -> NoReturn:
    """Refuse a key with a passphrase: OpenSSL would ask the terminal for it."""
    raise BadCertificate(f"the key in '{key}' has a passphrase: store it without one, readable for the server alone")


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """Return the server's certificate as a client sees it. Raises: SSLCertVerificationError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    while True:
        with suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
            return dict(theirs.getpeercert() or {})
        with suppress(ssl.SSLWantReadError):
            ours.do_handshake()
