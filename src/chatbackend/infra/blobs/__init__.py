"""Blob stores: bytes under keys that the server makes."""
