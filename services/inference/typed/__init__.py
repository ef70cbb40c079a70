"""The typed API, `inference.v1.InferenceService`: its requests as OpenAI's bodies, OpenAI's chunks as its messages."""
