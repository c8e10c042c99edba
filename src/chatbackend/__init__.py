"""The backend behind a chat app: standard wire contracts over durable conversations and cited files."""
