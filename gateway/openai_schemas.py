"""What travels as raw bodies, written by hand, since no contract tells of it: OpenAI's own JSON, and files."""

from __future__ import annotations

from typing import Any

from gateway import openai_requests
from gateway.event_streams import event_stream

_ROLE = {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]}
_FINISH = {"type": ["string", "null"], "enum": ["stop", "length", "content_filter", "tool_calls", None]}

SCHEMAS: dict[str, dict[str, Any]] = {
    "openai.ChatCompletionRequest": openai_requests.CHAT_COMPLETION,
    "openai.EmbeddingsRequest": openai_requests.EMBEDDINGS,
    "openai.ResponseRequest": openai_requests.RESPONSE,
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
            "kind": {
                "type": "string",
                "enum": ["chat", "embedding"],
                "description": "What it makes: answers or vectors. Not of OpenAI's API.",
            },
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


def _events(name: str, description: str, *, named: bool = False, last: str = "") -> dict[str, Any]:
    return event_stream({"$ref": f"#/components/schemas/openai.{name}"}, description, named=named, last=last)


_PAGE = {"text/html": {"schema": {"type": "string", "description": "The web app's page."}}}

# The last line of an exported trail: a file without it was cut.
_EXPORTED = {
    "type": "object",
    "properties": {
        "done": {
            "type": "object",
            "properties": {
                "records": {"type": "string", "description": "How many there are in the file."},
                "head": {"type": "string", "description": "Hash of the last record of the chain, hex."},
                "headSequence": {"type": "string", "description": "Its sequence."},
            },
            "required": ["records", "head", "headSequence"],
        }
    },
    "required": ["done"],
}

# By operation: the content of its request (where it has one), of its answer, and answers of other statuses.
OPERATIONS: dict[str, dict[str, Any]] = {
    "OpenAiService_ChatCompletions": {
        "request": _json("ChatCompletionRequest"),
        "answer": {
            **_json("ChatCompletion"),
            **_events("ChatCompletionChunk", "With `stream`: `data` is one chunk, at the end a word.", last="[DONE]"),
        },
    },
    "OpenAiService_Responses": {
        "request": _json("ResponseRequest"),
        "answer": {
            **_json("Response"),
            **_events("ResponseEvent", "With `stream`: `event` is what the `type` in `data` says.", named=True),
        },
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
    "AuditService_ExportAuditRecords": {
        "answer": {
            "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "One JSON object a line; the last one tells what was exported.",
                    "contentMediaType": "application/json",
                    "contentSchema": {
                        "anyOf": [
                            {"$ref": "#/components/schemas/auth.v1.AuditRecord", "required": ["sequence", "hash"]},
                            _EXPORTED,
                        ]
                    },
                }
            },
        }
    },
}
