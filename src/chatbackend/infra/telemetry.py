"""JSON log lines on standard error: one a request, no prompt text and no key."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

import msgspec
import structlog

FLUSH_S = 0.05


def set_up_logging(level: str) -> None:
    """Configure structlog; libraries that use `logging` keep to warnings."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class AccessLog:
    """One JSON line a request, in the shape of the other log lines. On the hot path: lines of 50 ms share a write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._second = 0  # of the last line, and how it is written: of many lines a second only the fraction differs
        self._written = ""

    def __call__(self, **fields: str | float | None) -> None:
        """Take one line; it is written soon, or by `flush`."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        self._lines.append(self._encode({**fields, "event": "request", "level": "info", "timestamp": self._now()}))

    def _now(self) -> str:
        second, rest_ns = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._written = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._written}.{rest_ns // 1000:06}Z"

    def flush(self) -> None:
        """Write what was taken."""
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write(b"\n".join([*lines, b""]).decode())
            self._stream.flush()
