"""The Realtime protocol, without sockets: handshakes, dialects, the core of the relay, and that of the bridge."""
