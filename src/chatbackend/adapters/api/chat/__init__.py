"""The Chat Completions API over any provider: requests read, answers written."""
