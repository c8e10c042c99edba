"""The backend behind a chat app: standard wire contracts over durable conversations and cited files."""

__version__ = "0.2.0"
