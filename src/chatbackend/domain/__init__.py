"""What the backend decides: plain data and pure functions on the standard library alone."""
