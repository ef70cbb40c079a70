"""OpenAI's requests, written by hand: what services/inference/openai reads and refuses. Null stands for not set."""

from __future__ import annotations

from typing import Any

from gateway.patterns import INT64

Schema = dict[str, Any]

_MAX_TOKENS = 1_000_000_000


def _kind(kind: str, description: str = "", /, **limits: Any) -> Schema:
    """A value of this type or null."""
    return {"type": [kind, "null"], **limits} | ({"description": description} if description else {})


def _where(name: str, *values: str) -> Schema:
    """Objects of which a field is one of these words."""
    return {"properties": {name: {"enum": list(values)}}, "required": [name]}


def _number(low: float, high: float) -> Schema:
    return _kind("number", minimum=low, maximum=high)


def _tokens(description: str = "") -> Schema:
    return _kind("integer", description, minimum=1, maximum=_MAX_TOKENS)


_TEXT, _OBJECT = {"type": "string"}, {"type": "object"}
_NAME = {"type": "string", "minLength": 1}
_METADATA = _kind(
    "object",
    "Tags of the call: usage can be grouped by them.",
    maxProperties=16,
    propertyNames={"minLength": 1, "maxLength": 64},
    additionalProperties={"type": "string", "maxLength": 256},
)
_MODEL = _kind("string", "A name from GET /v1/models; none: the default one.")
_STREAM = _kind("boolean", "Answer as server-sent events.", default=False)
_SAMPLING: Schema = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "top_logprobs": _kind("integer", minimum=0, maximum=20),
    "seed": _kind("integer", minimum=INT64[0], maximum=INT64[1]),
    "stop": {
        "oneOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}, {"type": "null"}],
        "description": "Texts at which the answer ends.",
    },
    "logit_bias": _kind("object"),
    "user": _kind("string"),
    "parallel_tool_calls": _kind("boolean"),
    "metadata": _METADATA,
}

_CHAT_PART: Schema = {
    **_OBJECT,
    "properties": {"type": {"type": "string", "description": "`text`, `image_url`, `input_audio`, `file`, …"}},
    "required": ["type"],
    "anyOf": [
        {"properties": {"type": {"not": {"const": "text"}}}},
        {"properties": {"text": _TEXT}, "required": ["text"]},
    ],
}
_FUNCTION: Schema = {
    **_OBJECT,
    "properties": {"name": _NAME, "description": {}, "parameters": _kind("object", "A JSON Schema."), "strict": {}},
    "required": ["name"],
}
CHAT_COMPLETION: Schema = {
    **_OBJECT,
    "description": "OpenAI's request. Fields that are not named here pass on to providers that know them.",
    "properties": {
        "model": _MODEL,
        "messages": {
            "type": "array",
            "minItems": 1,
            "description": "The conversation.",
            "items": {
                **_OBJECT,
                "properties": {
                    "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
                    "content": {
                        "description": "Text, or a list of parts: texts, images, sound, files. None: of a model's own "
                        "messages and of tools only.",
                        "oneOf": [_TEXT, {"type": "array", "items": _CHAT_PART}, {"type": "null"}],
                    },
                    "tool_calls": {"description": "Calls of functions, as the model answered them."},
                    "tool_call_id": {"description": "Of a message of the role `tool`: the call that it answers."},
                },
                "required": ["role"],
                "anyOf": [
                    _where("role", "assistant", "tool", "function"),
                    {"properties": {"content": {"type": ["string", "array"]}}, "required": ["content"]},
                ],
            },
        },
        "stream": _STREAM,
        "stream_options": _kind(
            "object",
            "Only with `stream`. With `include_usage` the last chunk tells the tokens.",
            properties={"include_usage": _kind("boolean")},
        ),
        "max_completion_tokens": _tokens(),
        "max_tokens": _tokens("Older name of the above; where both are there, the smaller holds."),
        **_SAMPLING,
        "n": _kind("integer", "How many answers.", minimum=1, maximum=128),
        "logprobs": _kind("boolean"),
        "tools": _kind(
            "array",
            "Functions that it may call.",
            items={
                **_OBJECT,
                "properties": {"type": _TEXT, "function": {}},
                "required": ["type"],
                "anyOf": [
                    {"properties": {"type": {"not": {"const": "function"}}}},
                    {"properties": {"function": _FUNCTION}, "required": ["function"]},
                ],
            },
        ),
        "tool_choice": {"type": ["string", "object", "null"], "description": "`auto`, `none`, `required`, or one."},
        "response_format": _kind(
            "object",
            "Text, JSON, or JSON after a schema.",
            properties={
                "type": _TEXT,
                "json_schema": {"description": "`name` and `schema`, where `type` is `json_schema`."},
            },
            required=["type"],
            anyOf=[
                {"properties": {"type": {"not": {"const": "json_schema"}}}},
                {
                    "properties": {
                        "json_schema": {
                            **_OBJECT,
                            "properties": {"name": _NAME, "schema": _kind("object")},
                            "required": ["name"],
                        }
                    },
                    "required": ["json_schema"],
                },
            ],
        ),
    },
    "required": ["messages"],
    "anyOf": [
        {"properties": {"stream_options": {"type": "null"}}},
        {"properties": {"stream": {"const": True}}, "required": ["stream"]},
    ],
}

_INT = {"type": "integer", "minimum": INT64[0], "maximum": INT64[1]}
EMBEDDINGS: Schema = {
    **_OBJECT,
    "description": "OpenAI's request.",
    "properties": {
        "model": {**_MODEL, "description": "A name from GET /v1/models that makes vectors; none: the default model."},
        "input": {
            "description": "A text, or up to 2,048; tokens as numbers are taken, too.",
            "anyOf": [
                _NAME,
                {"type": "array", "minItems": 1, "items": _INT},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2048,
                    "items": {"anyOf": [_NAME, {"type": "array", "minItems": 1, "items": _INT}]},
                },
            ],
        },
        "dimensions": _kind("integer", minimum=1, maximum=65536),
        "encoding_format": {"enum": ["float", "base64", None], "default": "float"},
        "user": _kind("string"),
        "metadata": _METADATA,
    },
    "required": ["input"],
}


def _one(*kinds: str, **fields: Schema) -> Schema:
    """What an object of these types must hold, too."""
    return {"properties": {"type": {"enum": list(kinds)}, **fields}, "required": ["type", *fields]}


_PART_KINDS = ("input_text", "output_text", "refusal", "input_image", "input_file", "input_audio")
_PARTS: Schema = {
    "type": "array",
    "items": {
        **_OBJECT,
        "properties": {"type": {"enum": list(_PART_KINDS)}, "file_id": {"type": "null"}, "file_url": {"type": "null"}},
        "anyOf": [
            _one("input_text", "output_text", text=_TEXT),
            _one("refusal", refusal=_TEXT),
            _one("input_image", image_url=_NAME),
            _one("input_file", file_data=_NAME),
            _one("input_audio", input_audio=_OBJECT),
        ],
        "required": ["type"],
    },
}
_CONTENT: Schema = {"oneOf": [_TEXT, _PARTS], "description": "Text, or a list of parts."}
_ITEM: Schema = {
    **_OBJECT,
    "properties": {
        "type": {"enum": ["message", "function_call", "function_call_output", "reasoning"], "default": "message"},
        "role": {"description": "Of a message: `user`, `assistant`, `system` or `developer`."},
        "content": {"description": "Of a message: text, or a list of parts."},
    },
    "anyOf": [
        {
            "properties": {
                "type": {"enum": ["message"]},
                "role": {"enum": ["user", "assistant", "system", "developer"]},
                "content": _CONTENT,
            },
            "required": ["role", "content"],
        },
        _one("function_call", call_id=_NAME, name=_NAME, arguments=_TEXT),
        _one("function_call_output", call_id=_NAME, output=_CONTENT),
        _one("reasoning"),
    ],
}
_NOT_SERVED = {"type": "null", "description": "Not served: nothing is stored here, and nothing runs in the background."}
_INCLUDES = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
    *("reasoning.encrypted_content", "message.output_text.logprobs"),
)
RESPONSE: Schema = {
    **_OBJECT,
    "description": "OpenAI's request. What refers to something stored, and tools that OpenAI runs, are refused, and so "
    "are parameters of chat completions alone. Other fields pass on to providers that know them.",
    "properties": {
        "model": _MODEL,
        "input": {
            "description": "A text, or the conversation as a list of items.",
            "oneOf": [_TEXT, {"type": "array", "minItems": 1, "items": _ITEM}],
        },
        "instructions": _kind("string", "Stands above the conversation."),
        "stream": _STREAM,
        "stream_options": _kind("object"),
        "max_output_tokens": _tokens(),
        "max_tool_calls": _tokens(),
        **_SAMPLING,
        "text": _kind(
            "object",
            "`format`: text, JSON, or JSON after a schema.",
            properties={
                "verbosity": _kind("string"),
                "format": _kind(
                    "object",
                    properties={"type": {"enum": ["text", "json_object", "json_schema"]}},
                    required=["type"],
                    anyOf=[_where("type", "text", "json_object"), _one("json_schema", name=_NAME, schema=_OBJECT)],
                ),
            },
        ),
        "reasoning": _kind("object", "`effort`, where the model has one.", properties={"effort": _kind("string")}),
        "tools": _kind(
            "array",
            "Functions that it may call.",
            items={
                **_OBJECT,
                "properties": {
                    "type": {"const": "function"},
                    "name": _NAME,
                    "description": _kind("string"),
                    "parameters": _kind("object", "A JSON Schema."),
                    "strict": _kind("boolean"),
                },
                "required": ["type", "name"],
            },
        ),
        "tool_choice": {
            "description": "With `required`, and with an object, only of functions that `tools` names.",
            "anyOf": [
                {"enum": ["auto", "none", "required", None]},
                {**_OBJECT, **_where("type", "function", "allowed_tools")},
            ],
        },
        "include": _kind("array", items={"enum": list(_INCLUDES)}),
        "truncation": {"enum": ["disabled", None]},
        "store": _kind("boolean", "Nothing is stored, whatever it says."),
        "background": {"enum": [False, None], "description": _NOT_SERVED["description"]},
        "previous_response_id": _NOT_SERVED,
        "conversation": _NOT_SERVED,
        "prompt": _NOT_SERVED,
        "context_management": {**_NOT_SERVED, "description": "Not served: conversations are not compacted here."},
        "moderation": {**_NOT_SERVED, "description": "Not served: the operator's route sets it."},
    },
    "required": ["input"],
}
