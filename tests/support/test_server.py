"""The server fixture starts, restarts and kills what tests stand on."""

import http.client

from tests.support.server import Server


def status(server: Server, key: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
    found = connection.getresponse().status
    connection.close()
    return found


def test_a_killed_server_comes_back_on_its_port_with_its_keys(server: Server) -> None:
    other, port = server.new_key("mobile"), server.port
    server.kill()
    server.start()
    assert server.port == port
    assert [status(server, key) for key in (server.key, other, "sk-unknown")] == [200, 200, 401]


def test_a_stopped_server_ends_with_success_and_stopping_twice_is_harmless(server: Server) -> None:
    assert [server.stop(), server.stop()] == [0, 0]
