"""The Anthropic Messages dialect as clients speak it: requests in, messages and their events out."""
