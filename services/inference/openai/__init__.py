"""OpenAI's API: its bodies, streams and errors, carried as `google.api.HttpBody`."""
