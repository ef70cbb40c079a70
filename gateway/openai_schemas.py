"""What travels as raw bodies, written by hand, since no contract tells of it: OpenAI's own JSON, and files."""

from __future__ import annotations

from typing import Any

_ROLE = {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}
_METADATA = {
    "type": "object",
    "maxProperties": 16,
    "propertyNames": {"minLength": 1, "maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 256},
    "description": "Tags of the call: usage can be grouped by them.",
}
_MODEL = {"type": "string", "description": "A name from GET /v1/models; none: the default one."}
_TOOLS = {"type": "array", "maxItems": 128, "items": {"type": "object"}, "description": "Functions that it may call."}
_PART = {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]}
_FINISH = {"type": ["string", "null"], "enum": ["stop", "length", "content_filter", "tool_calls", None]}

SCHEMAS: dict[str, dict[str, Any]] = {
    "openai.ChatCompletionRequest": {
        "type": "object",
        "description": "OpenAI's request. Fields that are not named here pass on to providers that know them.",
        "properties": {
            "model": _MODEL,
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
                            "description": "Text, or a list of parts: texts, images, sound, files.",
                            "oneOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}],
                        },
                        "tool_calls": {"type": "array", "items": {"type": "object"}},
                        "tool_call_id": {"type": "string"},
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
            "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128, "description": "How many answers."},
            "tools": _TOOLS,
            "tool_choice": {"oneOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]},
            "response_format": {"type": "object", "description": "JSON, or JSON after a schema."},
            "metadata": _METADATA,
        },
        "required": ["messages"],
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
    "openai.EmbeddingsRequest": {
        "type": "object",
        "description": "OpenAI's request.",
        "properties": {
            "model": _MODEL,
            "input": {
                "description": "A text, or up to 2,048; tokens as numbers are taken, too.",
                "oneOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "minItems": 1, "items": {"type": ["string", "integer", "array"]}},
                ],
            },
            "dimensions": {"type": "integer", "minimum": 1, "maximum": 65536},
            "encoding_format": {"type": "string", "enum": ["float", "base64"], "default": "float"},
            "metadata": _METADATA,
        },
        "required": ["input"],
        "additionalProperties": True,
    },
    "openai.Embeddings": {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "object": {"const": "embedding"},
                        "index": {"type": "integer"},
                        "embedding": {
                            "oneOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}],
                            "description": "Numbers, or 32-bit floats in base64.",
                        },
                    },
                },
            },
            "model": {"type": "string"},
            "usage": {
                "type": "object",
                "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
            },
        },
    },
    "openai.ResponseRequest": {
        "type": "object",
        "description": "OpenAI's request. What refers to something stored, and tools that OpenAI runs, are refused.",
        "properties": {
            "model": _MODEL,
            "input": {
                "description": "A text, or the conversation as a list of items.",
                "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
            },
            "instructions": {"type": ["string", "null"], "description": "Stands above the conversation."},
            "stream": {"type": "boolean", "default": False, "description": "Answer as server-sent events."},
            "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
            "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "max_output_tokens": {"type": ["integer", "null"], "minimum": 1},
            "text": {"type": "object", "description": "`format`: text, JSON, or JSON after a schema."},
            "reasoning": {"type": "object", "description": "`effort`, where the model has one."},
            "tools": _TOOLS,
            "tool_choice": {"oneOf": [{"enum": ["auto", "none", "required"]}, {"type": "object"}]},
            "metadata": _METADATA,
        },
        "required": ["input"],
        "additionalProperties": True,
    },
    "openai.Response": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "created_at": {"type": "integer", "description": "Unix time, seconds."},
            "status": {"type": "string", "enum": ["in_progress", "completed", "incomplete", "failed"]},
            "model": {"type": "string"},
            "output": {
                "type": "array",
                "description": "Messages, calls of functions, thoughts.",
                "items": {"type": "object", "properties": {"type": {"type": "string"}, "id": {"type": "string"}}},
            },
            "usage": {
                "type": ["object", "null"],
                "properties": {
                    "input_tokens": {"type": "integer"},
                    "output_tokens": {"type": "integer"},
                    "total_tokens": {"type": "integer"},
                },
            },
            "store": {"const": False},
        },
    },
    "openai.ResponseEvent": {
        "type": "object",
        "description": "`response.created`, deltas, and at the end `response.completed`, `response.incomplete` or "
        "`response.failed` with the whole response.",
        "properties": {
            "type": {"type": "string"},
            "sequence_number": {"type": "integer"},
            "response": {"$ref": "#/components/schemas/openai.Response"},
            "delta": {"type": "string"},
        },
        "required": ["type", "sequence_number"],
    },
    "openai.InputTokens": {
        "type": "object",
        "properties": {"object": {"const": "response.input_tokens"}, "input_tokens": {"type": "integer"}},
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


def _events(name: str, description: str) -> dict[str, Any]:
    return {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "description": description,
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": f"#/components/schemas/openai.{name}"},
            }
        }
    }


_PAGE = {"text/html": {"schema": {"type": "string", "description": "The web app's page."}}}

# By operation: the content of its request (where it has one), of its answer, and answers of other statuses.
OPERATIONS: dict[str, dict[str, Any]] = {
    "OpenAiService_ChatCompletions": {
        "request": _json("ChatCompletionRequest"),
        "answer": {
            **_json("ChatCompletion"),
            **_events("ChatCompletionChunk", "With `stream`: each `data:` line is one chunk, the last one `[DONE]`."),
        },
    },
    "OpenAiService_Responses": {
        "request": _json("ResponseRequest"),
        "answer": {**_json("Response"), **_events("ResponseEvent", "With `stream`: each `data:` line is one event.")},
    },
    "OpenAiService_CountInputTokens": {"request": _json("ResponseRequest"), "answer": _json("InputTokens")},
    "OpenAiService_Embeddings": {"request": _json("EmbeddingsRequest"), "answer": _json("Embeddings")},
    "OpenAiService_ListModels": {"answer": _json("ModelList")},
    "OpenAiService_GetModel": {"answer": _json("Model")},
    "PostService_GetPostPage": {
        "answer": _PAGE,
        "others": {
            "404": {
                "description": "The app's page without a post: it is not there, or not published.",
                "content": _PAGE,
            },
            "503": {"description": "The app's page without a post: it cannot be read now.", "content": _PAGE},
        },
    },
    "UsageService_ExportRequests": {
        "answer": {
            "text/csv": {"schema": {"type": "string", "description": "A header line, then one line a receipt."}},
            "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "One JSON object a line.",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/inference.v1.Receipt"},
                }
            },
        }
    },
}
