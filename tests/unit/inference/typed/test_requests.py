"""Requests of Generate as OpenAI's bodies: what becomes of each field, and what several of them say wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.openai.chat_rules import RULES
from services.inference.openai.fields import check
from services.inference.typed.requests import OURS, chat_body, embed_body
from services.mesh.errors import MeshError

USER = pb.Message(role=pb.MESSAGE_ROLE_USER, content="Hi")


def struct(value: dict[str, Any]) -> Struct:
    return ParseDict(value, Struct())


def body(*messages: pb.Message, **fields: Any) -> dict[str, Any]:
    made = chat_body(pb.GenerateRequest(messages=messages or [USER], **fields))
    check(made, RULES)  # what OpenAI's own callers must keep to
    return made


def said(*messages: pb.Message, **fields: Any) -> dict[str, Any]:
    """Beside what every body has."""
    return {key: value for key, value in body(*messages, **fields).items() if key not in ("messages", "stream")}


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "minProperties": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"sampling": pb.Sampling(temperature=0, top_p=1)}, {"temperature": 0, "top_p": 1}),
        ({"sampling": pb.Sampling(seed=0, stop=["a", "b"])}, {"seed": 0, "stop": ["a", "b"]}),
        (
            {"sampling": pb.Sampling(presence_penalty=-1, frequency_penalty=1)},
            {"presence_penalty": -1, "frequency_penalty": 1},
        ),
        ({"sampling": pb.Sampling(candidates=3)}, {"n": 3}),
        ({"sampling": pb.Sampling(top_logprobs=0)}, {"logprobs": True, "top_logprobs": 0}),
        ({"sampling": pb.Sampling(max_output_tokens=5)}, {}),  # the call's cap
        ({"tools": [pb.Tool(name="f")]}, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (
            {"tools": [pb.Tool(name="f", description="Does.", parameters=struct(SCHEMA), strict=True)]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "Does.", "parameters": SCHEMA, "strict": True},
                    }
                ]
            },
        ),
        ({"tool_choice": pb.ToolChoice(mode=pb.TOOL_MODE_REQUIRED)}, {"tool_choice": "required"}),
        (
            {"tools": [pb.Tool(name="f")], "tool_choice": pb.ToolChoice(tool="f")},
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        (
            {"response_format": pb.ResponseFormat(json_object=pb.JsonObjectFormat())},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"response_format": pb.ResponseFormat(json_schema=pb.JsonSchemaFormat(schema=struct(SCHEMA)))},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        (
            {
                "response_format": pb.ResponseFormat(
                    json_schema=pb.JsonSchemaFormat(name="n", description="d", schema=struct({}), strict=True)
                )
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {}, "description": "d", "strict": True},
                }
            },
        ),
        ({"extra": struct({"top_k": 5, "guided": {"a": [1, 1.5]}})}, {"top_k": 5, "guided": {"a": [1, 1.5]}}),
        ({"tags": {"a": "b"}, "cache": pb.CacheControl(bypass=True), "model": "m"}, {}),
    ],
)
def test_fields_are_said_in_openais_words(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    made = said(**fields)
    assert made == expected
    assert isinstance(made.get("top_k", 5), int), "a whole number of a Struct is one for the provider"


def test_parts_of_a_message() -> None:
    parts = [
        pb.ContentPart(text="What is it?"),
        pb.ContentPart(image=pb.ImagePart(url="https://e.com/a.png", detail="low")),
        pb.ContentPart(image=pb.ImagePart(url="data:image/png;base64,eA==")),
        pb.ContentPart(audio=pb.AudioPart(data=b"x", format="wav")),
        pb.ContentPart(file=pb.FilePart(filename="a.pdf", data_url="data:application/pdf;base64,eA==")),
    ]
    (message,) = body(pb.Message(role=pb.MESSAGE_ROLE_USER, parts=parts, name="Ann"))["messages"]
    assert message == {
        "role": "user",
        "name": "Ann",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
            {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,eA=="}},
        ],
    }


def test_a_tool_that_was_called_and_answered() -> None:
    call = pb.ToolCall(id="c1", name="f", arguments='{"a":1}')
    made = body(
        pb.Message(role=pb.MESSAGE_ROLE_SYSTEM, content="Be kind."),
        USER,
        pb.Message(role=pb.MESSAGE_ROLE_ASSISTANT, tool_calls=[call]),
        pb.Message(role=pb.MESSAGE_ROLE_TOOL, tool_call_id="c1", content="2"),
    )["messages"]
    assert [message["role"] for message in made] == ["system", "user", "assistant", "tool"]
    assert made[2] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    assert made[3] == {"role": "tool", "content": "2", "tool_call_id": "c1"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (
            pb.GenerateRequest(messages=[USER, pb.Message(role=pb.MESSAGE_ROLE_ASSISTANT, content="x")]),
            "messages[1].role",
        ),
        (
            pb.GenerateRequest(
                messages=[pb.Message(role=pb.MESSAGE_ROLE_USER, content="x", parts=[pb.ContentPart(text="y")])]
            ),
            "messages[0].parts",
        ),
        (
            pb.GenerateRequest(messages=[pb.Message(role=pb.MESSAGE_ROLE_USER, parts=[pb.ContentPart()])]),
            "messages[0].parts[0]",
        ),
        (
            pb.GenerateRequest(
                messages=[
                    pb.Message(
                        role=pb.MESSAGE_ROLE_USER, parts=[pb.ContentPart(image=pb.ImagePart(url="file:///etc/passwd"))]
                    )
                ]
            ),
            "messages[0].parts[0].image.url",
        ),
        (
            pb.GenerateRequest(
                messages=[
                    pb.Message(
                        role=pb.MESSAGE_ROLE_USER, parts=[pb.ContentPart(file=pb.FilePart(data_url="https://e.com/a"))]
                    )
                ]
            ),
            "messages[0].parts[0].file.data_url",
        ),
        (
            pb.GenerateRequest(
                messages=[pb.Message(role=pb.MESSAGE_ROLE_USER, content="x", tool_calls=[pb.ToolCall()])]
            ),
            "messages[0].tool_calls",
        ),
        (
            pb.GenerateRequest(messages=[pb.Message(role=pb.MESSAGE_ROLE_TOOL, content="x")]),
            "messages[0].tool_call_id",
        ),
        (
            pb.GenerateRequest(messages=[pb.Message(role=pb.MESSAGE_ROLE_USER, content="x", tool_call_id="c")]),
            "messages[0].tool_call_id",
        ),
        (pb.GenerateRequest(messages=[USER], tool_choice=pb.ToolChoice(tool="f")), "tool_choice.tool"),
        *[(pb.GenerateRequest(messages=[USER], extra=struct({name: 1})), f"extra.{name}") for name in sorted(OURS)],
    ],
)
def test_what_is_wrong_names_its_field(request_: pb.GenerateRequest, field: str) -> None:
    with pytest.raises(MeshError) as caught:
        chat_body(request_)
    assert caught.value.reason == "INVALID_FIELD"
    assert [one.field for one in caught.value.violations] == [field]


def test_texts_to_embed() -> None:
    assert embed_body(["a", "b"], 0) == {"input": ["a", "b"], "encoding_format": "float"}
    assert embed_body(["a"], 4)["dimensions"] == 4
