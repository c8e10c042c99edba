"""The Realtime protocol, without sockets: handshakes, dialects, and the relay's core."""
