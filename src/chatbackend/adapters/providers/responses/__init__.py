"""The OpenAI Responses dialect: requests out, answers in."""
