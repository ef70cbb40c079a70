"""What travels on OpenAI's paths, written by hand: their bodies are OpenAI's own JSON, of which no contract tells."""

from __future__ import annotations

from typing import Any

_ROLE = {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}
_FINISH = {"type": ["string", "null"], "enum": ["stop", "length", "content_filter", "tool_calls", None]}

SCHEMAS: dict[str, dict[str, Any]] = {
    "openai.ChatCompletionRequest": {
        "type": "object",
        "description": "OpenAI's request. Fields that are not named here pass on to providers that know them.",
        "properties": {
            "model": {"type": "string", "description": "A name from GET /v1/models."},
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1000,
                "description": "The conversation.",
                "items": {
                    "type": "object",
                    "properties": {
                        "role": _ROLE,
                        "content": {
                            "description": "Text, or a list of parts.",
                            "oneOf": [{"type": "string"}, {"type": "array"}, {"type": "null"}],
                        },
                    },
                    "required": ["role"],
                },
            },
            "stream": {"type": "boolean", "default": False, "description": "Answer as server-sent events."},
            "stream_options": {
                "type": "object",
                "properties": {"include_usage": {"type": "boolean"}},
                "description": "With `include_usage` the last chunk tells the tokens.",
            },
            "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
            "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
            "max_tokens": {"type": ["integer", "null"], "minimum": 1, "description": "Older name of the above."},
            "stop": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}]},
            "seed": {"type": ["integer", "null"]},
        },
        "required": ["model", "messages"],
        "additionalProperties": True,
    },
    "openai.Usage": {
        "type": "object",
        "properties": {
            "prompt_tokens": {"type": "integer"},
            "completion_tokens": {"type": "integer"},
            "total_tokens": {"type": "integer"},
        },
    },
    "openai.ChatCompletion": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "chat.completion"},
            "created": {"type": "integer", "description": "Unix time, seconds."},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "message": {
                            "type": "object",
                            "properties": {"role": _ROLE, "content": {"type": ["string", "null"]}},
                        },
                        "finish_reason": _FINISH,
                    },
                },
            },
            "usage": {"$ref": "#/components/schemas/openai.Usage"},
        },
    },
    "openai.ChatCompletionChunk": {
        "type": "object",
        "description": "One event of a stream; after the last comes `data: [DONE]`.",
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "chat.completion.chunk"},
            "created": {"type": "integer", "description": "Unix time, seconds."},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "delta": {
                            "type": "object",
                            "properties": {"role": _ROLE, "content": {"type": ["string", "null"]}},
                        },
                        "finish_reason": _FINISH,
                    },
                },
            },
            "usage": {"oneOf": [{"$ref": "#/components/schemas/openai.Usage"}, {"type": "null"}]},
        },
    },
    "openai.Model": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer", "description": "Unix time, seconds."},
            "owned_by": {"type": "string"},
        },
    },
    "openai.ModelList": {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/openai.Model"}},
        },
    },
    "openai.Error": {
        "type": "object",
        "description": "OpenAI's error.",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
                "required": ["message", "type"],
            }
        },
        "required": ["error"],
    },
}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/openai.{name}"}}}


# By operation: the content of its request (where it has one) and of its answer.
OPERATIONS: dict[str, dict[str, Any]] = {
    "OpenAiService_ChatCompletions": {
        "request": _json("ChatCompletionRequest"),
        "answer": {
            **_json("ChatCompletion"),
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "description": "With `stream`: each `data:` line is one chunk, the last one `[DONE]`.",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/openai.ChatCompletionChunk"},
                }
            },
        },
    },
    "OpenAiService_ListModels": {"answer": _json("ModelList")},
    "OpenAiService_GetModel": {"answer": _json("Model")},
}
