"""Framing: how events and messages are cut out of bytes and put back, without I/O."""
