"""The inference service: calls models, speaks OpenAI's API, and writes the examples of posts."""
