"""Pure checks of an uploaded file: its size and its type by its first bytes."""
