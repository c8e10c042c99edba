"""`GET /metrics`, and the same on a port of its own for a scraper that has no key."""

from collections.abc import Generator
from contextlib import contextmanager

from prometheus_client import start_http_server

from chatbackend.infra.metrics import CONTENT_TYPE, Metrics
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.routes import Route


class MetricsRoutes:
    """What this process has counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """Return the routes for known callers."""
        return [("GET", "/metrics", self.metrics)]

    async def metrics(self, request: Request) -> None:
        """Return the server's numbers in Prometheus' text format."""
        text = self._metrics.text()
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(text)).encode())]
        await request.start(200, headers)
        await request.send({"type": "http.response.body", "body": text})


@contextmanager
def metrics_port(metrics: Metrics, host: str, port: int) -> Generator[None]:
    """Serve the numbers without a credential, in a thread of their own. Raises: OSError."""
    server, thread = start_http_server(port, host, metrics.registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
