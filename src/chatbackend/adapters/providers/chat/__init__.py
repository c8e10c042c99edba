"""The Chat Completions dialect: requests out, answers in."""
