"""Requests of Generate and Embed as the bodies that providers speak. The contract has checked the fields; what only
several fields together say is checked here, with MeshError INVALID_FIELD naming the field."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from promptmesh.inference.v1 import inference_pb2 as pb

from services.mesh.errors import FieldViolation, MeshError

ROLES = {
    pb.MESSAGE_ROLE_SYSTEM: "system",
    pb.MESSAGE_ROLE_USER: "user",
    pb.MESSAGE_ROLE_ASSISTANT: "assistant",
    pb.MESSAGE_ROLE_TOOL: "tool",
}
TOOL_MODES = {pb.TOOL_MODE_AUTO: "auto", pb.TOOL_MODE_NONE: "none", pb.TOOL_MODE_REQUIRED: "required"}
# Fields of a body that the contract has fields for: `extra` may not carry them past its rules.
OURS = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "temperature"),
        *("top_p", "stop", "seed", "tools", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"),
        *("tool_choice", "parallel_tool_calls", "response_format", "metadata"),
    }
)


def chat_body(request: pb.GenerateRequest) -> dict[str, Any]:
    """OpenAI's chat completions body, without `model`, caps and `stream`, which the engine sets."""
    if request.messages[-1].role == pb.MESSAGE_ROLE_ASSISTANT:
        last = len(request.messages) - 1
        raise _wrong(
            f"messages[{last}].role",
            "must be USER, SYSTEM or TOOL in the last message",
            "The last message is the model's own, so there is nothing to answer.",
        )
    body: dict[str, Any] = {"messages": messages(request.messages), "stream": True}
    _sampling(request.sampling, body)
    if request.tools:
        body["tools"] = tools(request.tools)
    match request.tool_choice.WhichOneof("choice"):
        case "mode":
            body["tool_choice"] = TOOL_MODES[request.tool_choice.mode]
        case "tool":
            if all(tool.name != request.tool_choice.tool for tool in request.tools):
                raise _wrong("tool_choice.tool", "must be the name of one of the tools")
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.tool}}
    if request.HasField("parallel_tool_calls"):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    match request.response_format.WhichOneof("format"):
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            wanted = request.response_format.json_schema
            schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": plain(wanted.schema)}
            if wanted.description:
                schema["description"] = wanted.description
            if wanted.strict:
                schema["strict"] = True
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.HasField("extra"):
        _extra(request, body)
    return body


def messages(of: Iterable[pb.Message]) -> list[dict[str, Any]]:
    """Messages in OpenAI's shape."""
    return [_message(i, message) for i, message in enumerate(of)]


def tools(of: Iterable[pb.Tool]) -> list[dict[str, Any]]:
    """Tools in OpenAI's shape."""
    made = []
    for tool in of:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.HasField("parameters"):
            function["parameters"] = plain(tool.parameters)
        if tool.strict:
            function["strict"] = True
        made.append({"type": "function", "function": function})
    return made


def plain(struct: Any) -> dict[str, Any]:
    """A Struct as JSON; its whole numbers as whole numbers, which a schema's `minItems` has to be."""
    return {key: _whole(value) for key, value in MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value


def _message(i: int, message: pb.Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": ROLES[message.role]}
    if message.parts:
        if message.content:
            raise _wrong(f"messages[{i}].parts", "must be empty where `content` is set")
        made["content"] = [_part(f"messages[{i}].parts[{k}]", part) for k, part in enumerate(message.parts)]
    else:
        made["content"] = message.content
    if message.name:
        made["name"] = message.name
    if message.tool_calls:
        if message.role != pb.MESSAGE_ROLE_ASSISTANT:
            raise _wrong(f"messages[{i}].tool_calls", "only the model calls tools: the role must be ASSISTANT")
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        made["content"] = made["content"] or None
    if message.role == pb.MESSAGE_ROLE_TOOL:
        if not message.tool_call_id:
            raise _wrong(f"messages[{i}].tool_call_id", "must name the call that the tool answers")
        made["tool_call_id"] = message.tool_call_id
    elif message.tool_call_id:
        raise _wrong(f"messages[{i}].tool_call_id", "belongs to messages of the role TOOL alone")
    return made


def _part(place: str, part: pb.ContentPart) -> dict[str, Any]:
    match part.WhichOneof("part"):
        case "text":
            return {"type": "text", "text": part.text}
        case "image":
            if not part.image.url.startswith(("https://", "http://", "data:image/")):
                raise _wrong(f"{place}.image.url", "must be an https: URL or a data: URL of an image")
            image: dict[str, Any] = {"url": part.image.url}
            if part.image.detail:
                image["detail"] = part.image.detail
            return {"type": "image_url", "image_url": image}
        case "audio":
            data = base64.b64encode(part.audio.data).decode()
            return {"type": "input_audio", "input_audio": {"data": data, "format": part.audio.format}}
        case "file":
            if not part.file.data_url.startswith("data:"):
                raise _wrong(f"{place}.file.data_url", "must be a data: URL")
            return {"type": "file", "file": {"filename": part.file.filename, "file_data": part.file.data_url}}
        case _:
            raise _wrong(place, "must be a text, an image, sound or a file")


def _sampling(sampling: pb.Sampling, body: dict[str, Any]) -> None:
    for field in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"):
        if sampling.HasField(field):
            body[field] = getattr(sampling, field)
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.HasField("candidates"):
        body["n"] = sampling.candidates
    if sampling.HasField("top_logprobs"):
        body["logprobs"] = True
        body["top_logprobs"] = sampling.top_logprobs


def _extra(request: pb.GenerateRequest, body: dict[str, Any]) -> None:
    extra = plain(request.extra)
    taken = sorted(OURS & extra.keys())
    if taken:
        raise _wrong(f"extra.{taken[0]}", "has a field of its own in the request; set that")
    body.update(extra)


def embed_body(inputs: Sequence[str], dimensions: int) -> dict[str, Any]:
    """OpenAI's embeddings body, without `model`."""
    body: dict[str, Any] = {"input": list(inputs), "encoding_format": "float"}
    if dimensions:
        body["dimensions"] = dimensions
    return body


def _wrong(field: str, rule: str, message: str = "") -> MeshError:
    return MeshError("INVALID_FIELD", message or f"`{field}` {rule}.", violations=[FieldViolation(field, rule)])
