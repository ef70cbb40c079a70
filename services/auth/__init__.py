"""The auth service: people, sessions, API keys, and what other services need to check callers by themselves."""
