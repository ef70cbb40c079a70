"""Responses requests: read from bytes, checked, and said anew as chat completions, which providers speak.

A fault is a MeshError INVALID_FIELD whose metadata names OpenAI's `param`. What cannot be kept (anything stored, tools
that OpenAI runs itself) is refused rather than left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Catalog
from services.inference.engine.call import ModelCall
from services.inference.openai import bodies
from services.inference.openai.bodies import cache_control
from services.inference.openai.fields import (
    Rule,
    check,
    fault,
    of_type,
    parse,
    refuse_unknown,
    whole_number,
    wrong_kind,
)
from services.inference.openai.responses.inputs import messages_of
from services.inference.openai.responses.tools import tool_choice_of, tools_of
from services.inference.openai.sampling import MAX_TOKENS, SAMPLING
from services.inference.sizes import chat_sizes
from services.mesh.call import current
from services.mesh.ids import uuid7

# Said in chat completions under the same name.
_AS_IT_IS = (
    *("temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    *("prompt_cache_options", "service_tier"),
)
# Parameters of chat completions alone that this API lacks, and upstreams take all the same.
_SAMPLING = ("frequency_penalty", "presence_penalty", "seed", "stop", "logit_bias")
_ELSEWHERE = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "functions": "tools",
    "function_call": "tool_choice",
    "logprobs": "top_logprobs",
}
KNOWN = frozenset(
    {
        *_AS_IT_IS,
        *_SAMPLING,
        *("background", "conversation", "context_management", "include", "input", "instructions", "max_output_tokens"),
        *("max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt"),
        *("reasoning", "store", "stream", "stream_options", "text", "tool_choice", "tools", "top_logprobs"),
        "truncation",
    }
)
# Would change what a call is or takes, so none goes on unseen.
_CHAT_ALONE = bodies.KNOWN - KNOWN
_NOT_KEPT: tuple[tuple[str, str], ...] = (
    ("previous_response_id", "Nothing is stored here: send the conversation so far in `input`."),
    ("conversation", "Nothing is stored here: send the conversation so far in `input`."),
    ("prompt", "Prompts that OpenAI stores are not known here: send `instructions` and `input`."),
    ("background", "Nothing runs in the background here: leave `background` out, and stream the answer if it is long."),
    ("context_management", "Conversations are not compacted here: send what fits the model."),
    ("moderation", "Moderation is set by the operator's route here, not by a call."),
)
_INCLUDES = frozenset(
    {
        *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
        *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
        *("reasoning.encrypted_content", "message.output_text.logprobs"),
    }
)
_LOGPROBS = "message.output_text.logprobs"
_RULES: dict[str, Rule] = {
    **SAMPLING,
    "max_output_tokens": whole_number(1, MAX_TOKENS),
    "max_tool_calls": whole_number(1, MAX_TOKENS),
    "instructions": of_type(str),
    "store": of_type(bool),
    "stream_options": of_type(dict),
    "text": of_type(dict),
    "reasoning": of_type(dict),
    "include": of_type(list),
    "tools": of_type(list),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request. `body`: as it came; `chat`: the same as chat completions; `tools`: as an answer says them."""

    body: dict[str, Any]
    chat: dict[str, Any]
    tools: list[dict[str, Any]]


def read(data: bytes) -> Asked:
    """The request in a body."""
    body = parse(data)
    check(body, _RULES)
    for field, why in _NOT_KEPT:
        if body.get(field):
            raise fault(field, f"`{field}` is not supported. {why}")
    if body.get("truncation") not in (None, "disabled"):
        raise fault("truncation", "`truncation` must be `disabled`: input that is too long is refused, not shortened.")
    for field in sorted(_CHAT_ALONE & body.keys()):
        moved = f" Use `{_ELSEWHERE[field]}`." if field in _ELSEWHERE else ""
        raise fault(field, f"Unsupported parameter: {field!r} is one of chat completions.{moved}")
    chat: dict[str, Any] = {"messages": messages_of(body)}
    chat.update({field: body[field] for field in (*_AS_IT_IS, *_SAMPLING) if body.get(field) is not None})
    chat.update({field: body[field] for field in body.keys() - KNOWN})
    if body.get("model"):
        chat["model"] = body["model"]
    if body.get("stream"):
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    tools = _say_tools(body, chat)
    _say_text(body.get("text"), chat)
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        if not isinstance(effort, str):
            raise wrong_kind("reasoning.effort", "a string", effort)
        chat["reasoning_effort"] = effort
    _say_logprobs(body, chat)
    return Asked(body, chat, tools)


def call_of(data: bytes, catalog: Catalog) -> tuple[Asked, ModelCall]:
    """The request in a body, and the call that it asks for."""
    asked = read(data)
    body = asked.body
    call = current()
    route = catalog.route_for(body.get("model") or "", call.caller, embeds=False)
    if route.refuses_unknown:
        refuse_unknown(body, KNOWN, route.name)
    most = route.output_tokens_max
    asked_cap = body.get("max_output_tokens")
    streamed = bool(body.get("stream"))
    estimate, over = chat_sizes(asked.chat)
    return asked, ModelCall(
        surface=receipt_pb2.SURFACE_RESPONSES,
        caller=call.caller,
        request_id=call.request_id,
        record_id=uuid7(),
        route=route,
        body=asked.chat,
        streamed=streamed,
        wants_usage=streamed,
        output_cap=min(asked_cap, most) if asked_cap else most,
        input_tokens_max=len(data) + over,
        input_tokens_estimate=estimate,
        tags=body.get("metadata") or {},
        cache=cache_control(call.metadata),
        deadline=call.deadline,
        restartable=False,
    )


def count(data: bytes, catalog: Catalog) -> int:
    """Tokens of the input of a request, estimated; no provider is asked."""
    asked = read(data)
    catalog.route_for(asked.body.get("model") or "", current().caller)
    return chat_sizes(asked.chat)[0]


def _say_tools(body: dict[str, Any], chat: dict[str, Any]) -> list[dict[str, Any]]:
    """The tools as an answer says them."""
    echoed = tools_of(body.get("tools") or ())
    offered, choice = tool_choice_of(body.get("tool_choice"), echoed)
    if offered:
        # Providers refuse the other two where no tools are offered.
        chat["tools"] = [_chat_tool(tool) for tool in offered]
        if choice is not None:
            chat["tool_choice"] = choice
        if body.get("parallel_tool_calls") is not None:
            chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    return echoed


def _chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    fields = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {field: tool[field] for field in fields if tool[field] is not None}}


def _say_text(text: dict[str, Any] | None, chat: dict[str, Any]) -> None:
    if not text:
        return
    if text.get("verbosity") is not None:
        if not isinstance(text["verbosity"], str):
            raise wrong_kind("text.verbosity", "a string", text["verbosity"])
        chat["verbosity"] = text["verbosity"]
    form = text.get("format")
    if form is None:
        return
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        if not isinstance(form.get("name"), str) or not form["name"]:
            raise fault("text.format.name", "`text.format.name` must be a string that is not empty.")
        if not isinstance(form.get("schema"), dict):
            raise wrong_kind("text.format.schema", "an object", form.get("schema"))
        fields = ("name", "schema", "description", "strict")
        schema = {field: form[field] for field in fields if form.get(field) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        raise fault("text.format.type", "`text.format.type` must be `text`, `json_object` or `json_schema`.")


def _say_logprobs(body: dict[str, Any], chat: dict[str, Any]) -> None:
    included = body.get("include") or ()
    for i, one in enumerate(included):
        if not isinstance(one, str) or one not in _INCLUDES:
            raise fault(f"include[{i}]", f"`include[{i}]` must be one of {', '.join(sorted(_INCLUDES))}.")
    top = body.get("top_logprobs")
    if top or _LOGPROBS in included:
        chat["logprobs"] = True
        if top:
            chat["top_logprobs"] = top
