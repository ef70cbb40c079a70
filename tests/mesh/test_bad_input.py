"""What no client of ours would send: wrong types, strange bytes, too much of everything, one thing said two ways."""

from __future__ import annotations

import json
import uuid
from typing import Any

import grpc
import pytest
from promptmesh.prompts.v1 import posts_pb2

from tests.mesh.client import Client
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of, fault_of_rpc
from tests.mesh.people import CLEAN, PASSWORD, Person
from tests.mesh.upstreams import MODEL, VECTORS
from tests.mesh.wire import json_name, open_methods
from tests.support.provider import MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

POST = {"title": "A title", "body": CLEAN}
CREATE_POST = "/promptmesh.prompts.v1.PostService/CreatePost"
INVALID = ("INVALID_ARGUMENT", "INVALID_FIELD")
TOO_LARGE = ("INVALID_ARGUMENT", "REQUEST_TOO_LARGE")
HELLO = [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/api/v1/posts", POST | {"title": 5}, "title"),
        ("/api/v1/posts", POST | {"title": ["a"]}, "a list where one value is expected"),
        ("/api/v1/posts", POST | {"title": {"a": 1}}, "title"),
        ("/api/v1/posts", POST | {"title": True}, "title"),
        ("/api/v1/posts", POST | {"tags": [5]}, "tags"),
        ("/api/v1/posts", POST | {"tags": {"0": "a"}}, "tags"),
        ("/api/v1/apiKeys", {"displayName": "x", "expireTime": "yesterday"}, "expireTime"),
        ("/api/v1/apiKeys", {"displayName": "x", "expireTime": 5}, "expireTime"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": []}, "a list where one value is expected"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": "hot"}, "sampling"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": {"temperature": "hot"}}, "temperature"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": {"maxOutputTokens": 1.5}}, "maxOutputTokens"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": {"maxOutputTokens": 2**31}}, "maxOutputTokens"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": {"maxOutputTokens": "1e99"}}, "maxOutputTokens"),
        ("/api/v1/generate", {"messages": HELLO, "sampling": {"seed": 2**63}}, "seed"),
        ("/api/v1/generate", {"messages": "Hello."}, "messages"),
        ("/api/v1/generate", {"messages": [{"role": "MESSAGE_ROLE_POET", "content": "x"}]}, "role"),
        ("/api/v1/generate", {"messages": [{"role": "message_role_user", "content": "x"}]}, "role"),
        ("/api/v1/generate", {"messages": HELLO, "tags": ["a"]}, "cannot be read"),
        ("/api/v1/generate", {"messages": HELLO, "tags": {"a": {"b": "c"}}}, "a"),
        ("/api/v1/generate", {"messages": HELLO, "extra": "a"}, "extra"),
        ("/api/v1/generate", {"messages": HELLO, "extra": [1]}, "a list where one value is expected"),
        ("/api/v1/generate", {"messages": HELLO, "toolChoice": {"mode": "auto"}}, "mode"),
        ("/api/v1/generate", {"messages": [{"role": 2, "parts": [{"audio": {"data": "%%%"}}]}]}, "data"),
        ("/api/v1/embed", {"inputs": [{"text": "Hello."}]}, "inputs"),
        ("/api/v1/models:countTokens", {"messages": [["Hello."]]}, "messages[0]"),
        ("/api/v1/config:rollback", {"version": "the last one"}, "version"),
        ("/api/v1/moderation:screen", {"text": None, "surface": {}}, "surface"),
    ],
)
async def test_a_value_of_another_type_is_refused(someone: Person, path: str, body: object, named: str) -> None:
    fault = fault_of(await someone.ask("POST", path, body))

    assert fault.brief == INVALID
    assert named in fault.message


@pytest.mark.parametrize("size", ["abc", "1.5", "99999999999", "-99999999999", "0x10", "", "1e3", "true"])
async def test_a_query_of_another_type_is_refused(client: Client, size: str) -> None:
    fault = fault_of(await client.ask("GET", f"/api/v1/posts?pageSize={size}"))

    assert fault.brief == INVALID
    assert "pageSize" in fault.message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'"text"',
        b"5",
        b"null",
        b"{",
        b'{"title": "x"',
        b'{"title": "x",}',
        b"{'title': 'x'}",
        b"\x00",
        b"<a/>",
    ],
)
async def test_a_body_that_is_no_object_is_refused(someone: Person, text: bytes) -> None:
    assert fault_of(await someone.ask("POST", "/api/v1/posts", data=text)).brief == INVALID


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, id=one.name) for one in open_methods() if one.bindings and one.bindings[0].body != "*"],
)
async def test_an_unknown_query_parameter_is_refused(admin: Person, new_person: NewPerson, method: Any) -> None:
    caller = await new_person() if method.name == "DeleteSession" else admin
    binding = method.bindings[0]
    path = binding.path.replace("{model=**}", MODEL)
    for variable in binding.variables:
        path = path.replace("{" + variable + "}", str(uuid.uuid4()))

    for query in ("surprise=1", "surprise=", "post.surprise=1", "__proto__=1"):
        answer = await caller.ask(binding.verb, f"{path}?{query}", {} if binding.body else None)
        if path.startswith("/v1/"):
            assert answer.status == 400
            assert answer.json["error"]["type"] == "invalid_request_error"
        else:
            assert fault_of(answer).brief == INVALID


async def test_two_answers_to_one_choice_are_refused_or_the_last_counts(
    someone: Person, provider: MisbehavingProvider
) -> None:
    both = b'{"mode": "TOOL_MODE_NONE", "tool": "look"}'
    body = b'{"messages": [{"role": 2, "content": "a"}], "tools": [{"name": "look"}], "toolChoice": ' + both + b"}"

    answer = await someone.ask("POST", "/api/v1/generate", data=body)

    if answer.status == 200:
        assert provider.calls[-1].body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    else:
        assert fault_of(answer).brief == INVALID


async def test_an_unknown_field_of_a_body_means_nothing(someone: Person) -> None:
    """The transcoder drops it: what only the mesh sets cannot be set."""
    answer = await someone.ask(
        "POST",
        "/api/v1/posts",
        POST | {"surprise": 1, "state": "POST_STATE_PUBLISHED", "authorId": "x", "likeCount": "9"},
    )

    post = answer.ok()
    assert (post["state"], post["authorId"], post["likeCount"]) == ("POST_STATE_PENDING", someone.user_id, "0")


async def test_what_only_the_mesh_sets_cannot_be_edited(someone: Person) -> None:
    post = await someone.post()
    await someone.settled(post["postId"], "PUBLISHED")

    for mask in ("state", "like_count", "author_id", "example", "title,state", "*", "nothing", "post.title", ""):
        answer = await someone.ask("PATCH", f"/api/v1/posts/{post['postId']}?updateMask={mask}", {"title": "x"})
        fault = fault_of(answer)
        assert fault.code == 3, mask
        assert fault.reason in ("FIELD_MASK_INVALID", "INVALID_FIELD"), mask
    edited = await someone.ask(
        "PATCH",
        f"/api/v1/posts/{post['postId']}?updateMask=title",
        {"title": "Mine", "likeCount": "9", "authorId": "x"},
    )
    assert (edited.ok()["likeCount"], edited.ok()["authorId"]) == ("0", someone.user_id)


@pytest.mark.parametrize(
    ("path", "limit", "field"),
    [
        ("/api/v1/posts", MIB, "body"),
        ("/api/v1/users", MIB, "password"),
        ("/api/v1/moderation:screen", MIB, "text"),
        ("/api/v1/generate", 8 * MIB, "model"),
        ("/api/v1/embed", 8 * MIB, "model"),
        ("/api/v1/models:countTokens", 8 * MIB, "model"),
        ("/api/v1/providerKeys", MIB, "secret"),
        ("/api/v1/moderation:batchScreen", 8 * MIB, "requests"),
    ],
)
async def test_a_huge_body_is_413(someone: Person, path: str, limit: int, field: str) -> None:
    answer = await someone.ask("POST", path, data=json.dumps({field: "x" * limit}).encode())

    assert answer.status == 413
    assert fault_of(answer).brief == TOO_LARGE


async def test_a_large_input_goes_to_the_provider(someone: Person, provider: MisbehavingProvider) -> None:
    """What the edge takes, the service takes too."""
    content = "x" * 900_000
    large = [{"role": "user", "content": content}] * 8

    (await someone.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": large})).ok()
    native = [{"role": "MESSAGE_ROLE_USER", "content": content}] * 8
    answer = await someone.ask("POST", "/api/v1/generate", {"model": MODEL, "messages": native})

    assert answer.status == 200
    assert [len(call.body["messages"]) for call in provider.calls] == [8, 8]


async def test_large_inputs_become_vectors(someone: Person, provider: MisbehavingProvider) -> None:
    texts = ["x" * 900_000] * 8

    ours = (await someone.ask("POST", "/api/v1/embed", {"model": VECTORS, "inputs": texts})).ok()
    openai = (await someone.ask("POST", "/v1/embeddings", {"model": VECTORS, "input": texts})).ok()

    assert len(ours["embeddings"]) == len(openai["data"]) == 8
    assert [len(call.body["input"]) for call in provider.calls] == [8, 8]


@pytest.mark.parametrize("path", ["chat/completions", "responses", "responses/input_tokens", "embeddings"])
async def test_a_huge_body_for_openai_is_413_in_openai_shape(someone: Person, path: str) -> None:
    answer = await someone.ask("POST", f"/v1/{path}", data=b'{"a": "' + b"x" * 8 * MIB + b'"}')

    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")


async def test_a_huge_message_is_refused_natively(someone: Person, channel: grpc.aio.Channel) -> None:
    request = posts_pb2.CreatePostRequest(title="x", body="x" * 5 * MIB)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(CREATE_POST)(request.SerializeToString(), metadata=_bearer(someone))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("headers", [{"x-large": "x" * 33 * 1024}, {f"x-{number}": "1" for number in range(80)}])
async def test_too_many_or_too_large_headers_are_431(client: Client, headers: dict[str, str]) -> None:
    answer = await client.ask("GET", "/api/v1/posts", headers=headers)

    assert answer.status == 431


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ab\xe4b", b"\\ud800", b"\\udc00x"]
)
async def test_bad_utf8_is_refused_or_made_good(someone: Person, text: bytes) -> None:
    answer = await someone.ask("POST", "/api/v1/posts", data=b'{"title": "A' + text + b'", "body": "Name a river."}')

    if answer.status == 200:  # half of a surrogate pair may stand as what is no character
        assert text.startswith(b"\\u")
        answer.json["title"].encode()
    else:
        assert fault_of(answer).brief == INVALID


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
async def test_bad_utf8_is_refused_natively(someone: Person, channel: grpc.aio.Channel, text: bytes) -> None:
    raw = b"\x0a" + bytes([len(text)]) + text + b"\x12\x04body"

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(CREATE_POST)(raw, metadata=_bearer(someone))

    assert fault_of_rpc(caught.value).brief == INVALID


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x7fshort", b"\x0b", b"\x00"])
async def test_bytes_that_are_no_message_are_refused(someone: Person, channel: grpc.aio.Channel, raw: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(CREATE_POST)(raw, metadata=_bearer(someone))

    assert fault_of_rpc(caught.value).brief == INVALID


@pytest.mark.parametrize(
    "path", ["/api/v1/posts/%ff", "/api/v1/posts/%00", "/api/v1/posts/%ed%a0%80", "/api/v1/posts/%"]
)
async def test_bad_utf8_in_a_path_is_refused(client: Client, path: str) -> None:
    answer = await client.ask("GET", path)

    assert answer.status in (400, 404)


@pytest.mark.parametrize("query", ["tag=%ff", "pageToken=%c0%af", "tag=%00", "pageToken=%ff%fe"])
async def test_bad_utf8_in_a_query_is_refused(client: Client, query: str) -> None:
    assert fault_of(await client.ask("GET", f"/api/v1/posts?{query}")).code == 3


@pytest.mark.parametrize("depth", [200, 20_000, 400_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
async def test_deep_json_is_refused_or_ignored(someone: Person, depth: int, opening: str, closing: str) -> None:
    deep = opening * depth + "1" + closing * depth
    for path in ("/api/v1/posts", "/api/v1/generate"):
        if len(deep) > MIB and path == "/api/v1/posts":
            continue
        answer = await someone.ask("POST", path, data=f'{{"surprise": {deep}}}'.encode())
        assert fault_of(answer).brief == INVALID


@pytest.mark.parametrize("depth", [200, 20_000, 400_000])
async def test_deep_json_is_refused_in_openai_shape(someone: Person, depth: int) -> None:
    deep = "[" * depth + "]" * depth

    answer = await someone.ask("POST", "/v1/chat/completions", data=f'{{"messages": {deep}}}'.encode())

    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("verb", "path", "field"),
    [
        (verb, path, spelling)
        for verb, path, field in [
            ("PATCH", "/api/v1/posts/{id}?updateMask=title", "post_id"),
            ("POST", "/api/v1/posts/{id}:like", "post_id"),
            ("POST", "/api/v1/posts/{id}:unlike", "post_id"),
            ("POST", "/api/v1/users/{id}:setRoles", "user_id"),
            ("POST", "/api/v1/moderation/cases/{id}:resolve", "case_id"),
        ]
        for spelling in (field, json_name(field))
    ],
)
async def test_another_id_in_the_body_than_in_the_path_means_nothing(
    admin: Person, verb: str, path: str, field: str
) -> None:
    """Refused, or the path alone counts: it never reaches what the path does not name."""
    own, other = await admin.post(), await admin.post()

    answer = await admin.ask(verb, path.replace("{id}", own["postId"]), {"title": "Changed", field: other["postId"]})

    if answer.status == 200:
        assert answer.json["postId"] == own["postId"]
    else:
        assert fault_of(answer).reason in ("INVALID_FIELD", "POST_NOT_FOUND", "USER_NOT_FOUND", "CASE_NOT_FOUND")
        assert other["postId"] not in answer.json["message"] or "binding" in answer.json["message"]
    untouched = (await admin.read(other["postId"])).ok()
    assert (untouched["title"], untouched["likeCount"]) == ("A title", "0")


@pytest.mark.parametrize(
    ("verb", "path", "name"),
    [
        ("GET", "/api/v1/posts/{id}", "postId"),
        ("GET", "/api/v1/posts/{id}", "post_id"),
        ("GET", "/api/v1/posts/{id}", "post%49d"),
        ("GET", "/api/v1/posts/{id}:watch", "postId"),
        ("DELETE", "/api/v1/posts/{id}", "postId"),
        ("DELETE", "/api/v1/apiKeys/{id}", "api_key_id"),
        ("PATCH", "/api/v1/posts/{id}", "post.postId"),
        ("PATCH", "/api/v1/posts/{id}", "updateMask=title&post.post_id"),
    ],
)
async def test_another_id_in_the_query_than_in_the_path_is_refused(
    admin: Person, verb: str, path: str, name: str
) -> None:
    own, other = await admin.post(), await admin.post()

    answer = await admin.ask(
        verb,
        f"{path.replace('{id}', own['postId'])}?{name}={other['postId']}",
        {"title": "x"} if verb == "PATCH" else None,
    )

    assert fault_of(answer).brief == INVALID
    for post in (own, other):
        assert (await admin.read(post["postId"])).ok()["title"] == "A title"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("PUT", "/api/v1/posts"),
        ("GET", "/api/v2/posts"),
        ("POST", "/promptmesh.prompts.v1.PostService/GetPost"),
        ("TRACE", "/api/v1/posts"),
        ("GET", "/api/v1/posts/../../../etc/passwd"),
        ("GET", "/.env"),
    ],
)
async def test_what_is_not_served_is_told_so(client: Client, verb: str, path: str) -> None:
    fault = fault_of(await client.ask(verb, path, {} if verb != "GET" else None))

    assert fault.brief == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


async def test_all_faults_are_told_at_once(someone: Person) -> None:
    fault = fault_of(
        await someone.ask("POST", "/api/v1/posts", {"title": "", "tags": ["A", "b", "b"], "requestId": "7"})
    )

    assert {"title", "body", "tags", "tags[0]", "request_id"} <= set(fault.fields)
    assert "more violations" in fault.message


async def test_very_many_faults_fit_into_one_answer(someone: Person, channel: grpc.aio.Channel) -> None:
    messages = [{"role": "MESSAGE_ROLE_UNSPECIFIED", "content": "x"}] * 1000

    fault = fault_of(await someone.ask("POST", "/api/v1/generate", {"messages": messages}))

    assert fault.brief == INVALID
    assert "messages[0].role" in fault.fields


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/v1/posts", POST | {"body": "a\0b"}, "body"),
        ("/api/v1/sessions", {"email": "a\0b@example.com", "password": PASSWORD}, "email"),
        ("/api/v1/users", {"email": "nul@example.com", "password": "x\0" * 12, "displayName": "Nul"}, "password"),
        ("/api/v1/moderation:screen", {"text": "a\0b"}, "text"),
        ("/api/v1/moderation:batchScreen", {"requests": [{"text": "a"}, {"text": "a\0b"}]}, "requests[1].text"),
        ("/api/v1/generate", {"messages": [{"role": 2, "content": "a\0b"}]}, "messages[0].content"),
        ("/api/v1/config:apply", {"yaml": "a: \0"}, "yaml"),
        ("/api/v1/embed", {"inputs": ["a", "b\0"]}, "inputs[1]"),
        ("/api/v1/embed", {"inputs": ["a"], "tags": {"team": "a\0b"}}, 'tags["team"]'),
        ("/api/v1/generate", {"messages": HELLO, "extra": {"suffix": "\0"}}, 'extra["suffix"]'),
    ],
)
async def test_text_that_no_database_holds_is_refused(admin: Person, path: str, body: object, field: str) -> None:
    fault = fault_of(await admin.ask("POST", path, body))

    assert fault.brief == INVALID
    assert fault.fields == {field: "must not hold the character U+0000"}


def _bearer(person: Person) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {person.token}"),)
