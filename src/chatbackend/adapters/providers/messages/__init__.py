"""The Anthropic Messages dialect: requests out, answers in."""
