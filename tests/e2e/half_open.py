"""A client that connects, asks, says `ready` and is then stopped from outside: `half_open.py WHAT PORT KEY`."""

import base64
import json
import os
import socket
import struct
import sys
import time

what, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = socket.create_connection(("127.0.0.1", port))
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
auth = f"host: x\r\nauthorization: Bearer {key}\r\n"
ask = {"model": "llama31/scripted-endless-d0", "input": "x"}
if what == "sse":
    body = json.dumps({**ask, "stream": True})
    head = f"POST /v1/responses HTTP/1.1\r\n{auth}content-length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
else:
    nonce = base64.b64encode(os.urandom(16)).decode()
    upgrade = (
        f"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {nonce}\r\n"
    )
    connection.sendall(f"GET /v1/responses HTTP/1.1\r\n{auth}{upgrade}\r\n".encode())
    assert connection.recv(4096).startswith(b"HTTP/1.1 101")
    if what == "socket":
        text = json.dumps({"type": "response.create", **ask}).encode()
        connection.sendall(struct.pack("!BBHI", 0x81, 0x80 | 126, len(text), 0) + text)  # masked with zeros
if what != "idle":
    connection.recv(1024)
print("ready", flush=True)  # noqa: T201 - the parent waits for it
time.sleep(3600)
