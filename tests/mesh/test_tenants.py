"""Tenants are apart: every method of every service, called with another tenant's ids, in gRPC and in JSON.

Whoever adds a method adds what it answers to tests/mesh/tenants.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.message import Message

from gateway.contracts import Method
from services.local.testing import LocalMesh
from tests.mesh.calls import HELLO
from tests.mesh.client import Client, NoStreamError, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of, fault_of_rpc
from tests.mesh.mails import prove_address
from tests.mesh.people import CLEAN, Person
from tests.mesh.rules import new_message
from tests.mesh.tenants import FOREIGN_FIELDS, SCOPES, TABLE, UNBUILT, Tenant, Try, make_tenant
from tests.mesh.upstreams import MODEL, PRIVATE
from tests.mesh.wire import NotSayableError, open_methods, rest

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SESSIONS_ALONE = 3  # AUDIENCE_SESSION


@dataclass(frozen=True)
class Stranger:
    """Somebody of another tenant, with all that one may have."""

    person: Person
    org_id: str
    key: str


def short_name(method: Method) -> str:
    return f"{method.service.rpartition('.')[2]}.{method.name}"


def tries() -> Iterator[Any]:
    for method in open_methods():
        if method.service.rpartition(".")[2] in UNBUILT:
            continue
        for number, one in enumerate(TABLE.get(short_name(method), ())):
            yield pytest.param(method, one, id=f"{short_name(method)}-{number}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def victim(mesh: LocalMesh, new_person: NewPerson, moderator: Person) -> Tenant:
    person = await new_person()
    await prove_address(mesh, person)  # they invite somebody
    return await make_tenant(person, moderator)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def intruder(new_person: NewPerson) -> Stranger:
    person = await new_person()
    org = (await person.ask("POST", "/api/v1/organisations", {"displayName": "Strangers"})).ok()
    return Stranger(person, org["orgId"], await person.api_key(*SCOPES))


async def test_every_method_has_its_row() -> None:
    assert {short_name(method) for method in open_methods()} == set(TABLE)


@pytest.mark.parametrize(("method", "one"), list(tries()))
async def test_with_anothers_ids(
    client: Client, channel: grpc.aio.Channel, victim: Tenant, intruder: Stranger, method: Method, one: Try
) -> None:
    fields = dict(one.fields(victim))
    message = json_format.ParseDict(fields, new_message(method.input_type))
    before = await victim.seen()
    credentials = [intruder.person.token]
    if method.access.audience != SESSIONS_ALONE:
        credentials.append(intruder.key)
    for token in credentials:
        for reason, said in (
            await by_grpc(channel, method, message, token),
            await by_rest(client, method, message, token),
        ):
            assert reason in one.answers, said[:500]
            # An error may name what was asked for, and an answer what was sent; nothing else that is theirs.
            told = [mark for mark in victim.marks if mark.encode() in said and mark not in json.dumps(fields)]
            assert not told, said[:500]
            if reason == "OK" and not fields:
                assert not [mark for mark in victim.marks if mark.encode() in said]
    assert await victim.seen() == before, "it changed what is another tenant's"


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, id=short_name(method))
        for method in open_methods()
        if method.bindings[0].body and not method.raw and short_name(method).split(".")[0] not in UNBUILT
    ],
)
async def test_fields_that_are_not_of_the_request_change_nothing(
    client: Client, victim: Tenant, intruder: Stranger, method: Method
) -> None:
    """Mass assignment: what a resource has and its request has not, sent along at every level of the body."""
    before = [await victim.seen(), (await intruder.person.ask("GET", "/api/v1/users/me")).ok()]
    binding = method.bindings[0]
    known = set(new_message(method.input_type).DESCRIPTOR.fields_by_camelcase_name)
    extra: dict[str, Any] = {}
    for name, fields in FOREIGN_FIELDS.items():
        if name not in known:
            extra |= fields(victim)
    for one in TABLE[short_name(method)] or (Try(lambda _: {}, ()),):
        message = json_format.ParseDict(dict(one.fields(victim)), new_message(method.input_type))
        try:
            path, body = rest(binding, message)
        except NotSayableError:
            continue
        nested = {name: value | extra if isinstance(value, dict) else value for name, value in (body or {}).items()}
        answer = await client.ask(binding.verb, path, nested | extra, token=intruder.person.token)
        if answer.status == 200:
            sent = json.dumps(dict(one.fields(victim)))
            assert not [mark for mark in victim.marks if mark in answer.body.decode() and mark not in sent]
    after = [await victim.seen(), (await intruder.person.ask("GET", "/api/v1/users/me")).ok()]
    assert after == before


async def test_what_a_post_is_made_with_is_its_callers_own(victim: Tenant, intruder: Stranger) -> None:
    body = {
        "title": "Mine",
        "body": CLEAN,
        "orgId": victim.org_id,
        "authorId": victim.person.user_id,
        "state": "POST_STATE_PUBLISHED",
        "revision": 9,
    }
    post = (await intruder.person.ask("POST", "/api/v1/posts", body)).ok()
    assert (post["authorId"], post["state"]) == (intruder.person.user_id, "POST_STATE_PENDING")
    key = {"displayName": "x", "orgId": victim.org_id, "userId": victim.person.user_id}
    made = (await intruder.person.ask("POST", "/api/v1/apiKeys", key)).ok()
    assert made["apiKey"]["orgId"] not in (victim.org_id, victim.own_org)


async def test_a_field_of_a_post_that_is_not_the_authors_is_refused(intruder: Stranger) -> None:
    post = await intruder.person.post()
    for name, value in (("org_id", NIL), ("author_id", NIL), ("state", 3), ("like_count", 9), ("nothing", 1)):
        path = f"/api/v1/posts/{post['postId']}?updateMask={name}"
        answer = await intruder.person.ask("PATCH", path, {"title": "x", name: value})
        assert fault_of(answer).reason == "FIELD_MASK_INVALID", name


NIL = "00000000-0000-7000-8000-000000000000"


async def test_what_a_team_does_belongs_to_it(client: Client, victim: Tenant, admin: Person) -> None:
    post = (await victim.acting.read(victim.post_id)).ok()
    assert post["orgId"] == victim.org_id
    # Their author, acting for themselves, has no hand in it: no more has one who has left the team.
    edit = fault_of(await victim.person.edit(victim.post_id, title="Mine"))
    assert edit.reason == "POST_NOT_FOUND"
    mine = f"/api/v1/posts?authorId={victim.person.user_id}"
    assert victim.post_id not in json.dumps((await victim.person.ask("GET", mine)).ok())
    assert victim.post_id in json.dumps((await victim.acting.ask("GET", mine)).ok())
    receipt = (await client.ask("GET", f"/api/v1/requests/{victim.record_id}", token=victim.key)).ok()
    assert receipt["orgId"] == victim.org_id
    limit = f"/api/v1/limits/LIMIT_KIND_ORG/{victim.org_id}"
    (await admin.ask("PUT", limit, {"requestsPerDay": "100000"})).ok()

    async def subjects(token: str) -> set[str]:
        answer = (await client.ask("GET", "/api/v1/limits:remaining", token=token)).ok()
        return {one["subjectId"] for one in answer["remaining"] if one["kind"] == "LIMIT_KIND_ORG"}

    async def holds() -> bool:
        return await subjects(victim.key) == await subjects(victim.acting.token) == {victim.org_id}

    await eventually("the team's limit holds for its key and for a session that acts for it", holds)
    assert victim.org_id not in await subjects(victim.person.token)
    # The same person, acting for themselves, has none of it.
    answer = await victim.person.ask("GET", f"/api/v1/requests/{victim.record_id}")
    assert answer.status == 404
    own = (await victim.person.ask("GET", "/api/v1/requests")).ok()
    assert victim.record_id not in json.dumps(own)
    team = (await victim.acting.ask("GET", "/api/v1/requests")).ok()
    assert victim.record_id in json.dumps(team)


async def test_a_key_may_call_its_models_alone(client: Client, intruder: Stranger) -> None:
    body = {"displayName": "few", "models": [MODEL], "scopes": SCOPES}
    key = (await intruder.person.ask("POST", "/api/v1/apiKeys", body)).ok()["secret"]
    listed = (await client.ask("GET", "/v1/models", token=key)).ok()
    assert [one["id"] for one in listed["data"]] == [MODEL]
    assert [one["name"] for one in (await client.ask("GET", "/api/v1/models", token=key)).ok()["models"]] == [MODEL]
    (await client.ask("POST", "/v1/chat/completions", {"model": MODEL, "messages": HELLO}, token=key)).ok()
    for path, asked in (
        ("/v1/chat/completions", {"model": "demo", "messages": HELLO}),
        ("/v1/chat/completions", {"model": "nowhere", "messages": HELLO}),
        ("/v1/embeddings", {"model": "vectors", "input": "Hello."}),
        ("/v1/responses", {"model": "demo", "input": "Hello."}),
        ("/v1/responses/input_tokens", {"model": "demo", "input": "Hello."}),
    ):
        answer = await client.ask("POST", path, asked, token=key)
        assert answer.status == 403, path
        error = answer.json["error"]
        assert (error["code"], error["param"], error["type"]) == ("model_refused", "model", "invalid_request_error")
    assert (await client.ask("GET", "/v1/models/demo", token=key)).status == 403
    native = {"model": "demo", "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}
    for path, asked in (
        ("/api/v1/generate", native),
        ("/api/v1/models:countTokens", native),
        ("/api/v1/embed", {"model": "vectors", "inputs": ["Hello."]}),
    ):
        answer = await client.ask("POST", path, asked, token=key)
        assert fault_of(answer).brief == ("PERMISSION_DENIED", "MODEL_REFUSED"), path


async def test_what_belongs_to_others_is_not_there(client: Client, intruder: Stranger) -> None:
    """A model of another organisation, by every way in: as if it did not exist."""
    token = intruder.person.token
    listed = (await client.ask("GET", "/v1/models", token=token)).ok()
    assert MODEL in (names := [one["id"] for one in listed["data"]])
    assert PRIVATE not in names
    native = (await client.ask("GET", "/api/v1/models", token=token)).ok()
    assert PRIVATE not in [one["name"] for one in native["models"]]
    for name in (PRIVATE, "nowhere"):
        for path, asked in (
            ("/v1/chat/completions", {"model": name, "messages": HELLO}),
            ("/v1/embeddings", {"model": name, "input": "Hello."}),
            ("/v1/responses", {"model": name, "input": "Hello."}),
        ):
            answer = await client.ask("POST", path, asked, token=token)
            assert answer.status == 404, path
            assert answer.json["error"]["code"] == "model_not_found"
            assert answer.json["error"]["message"].replace(name, MODEL) == (
                f"No model {MODEL!r} is offered; GET /v1/models lists those that are."
            )
        typed = {"model": name, "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}
        for path, asked in (
            ("/api/v1/generate", typed),
            ("/api/v1/models:countTokens", typed),
            ("/api/v1/embed", {"model": name, "inputs": ["Hello."]}),
        ):
            answer = await client.ask("POST", path, asked, token=token)
            assert fault_of(answer).brief == ("NOT_FOUND", "MODEL_NOT_FOUND"), path


async def test_a_key_of_networks_is_good_from_there_alone(
    client: Client, channel: grpc.aio.Channel, intruder: Stranger
) -> None:
    """Over native gRPC, REST and the plain HTTP front, by the address that the edge saw, whatever headers say."""
    method = next(one for one in open_methods() if short_name(one) == "PostService.ListPosts")
    chat = {"model": MODEL, "messages": HELLO}
    for network, good in (("127.0.0.0/8", True), ("192.0.2.0/24", False)):
        body = {"displayName": "there", "allowedNetworks": [network], "scopes": SCOPES}
        key = (await intruder.person.ask("POST", "/api/v1/apiKeys", body)).ok()["secret"]
        reason, _ = await by_grpc(channel, method, new_message(method.input_type), key)
        assert reason == ("OK" if good else "ADDRESS_REFUSED")
        for headers in ({}, {"x-forwarded-for": "192.0.2.1", "x-envoy-external-address": "192.0.2.1"}):
            read = await client.ask("GET", "/api/v1/posts", token=key, headers=headers)
            called = await client.ask("POST", "/v1/chat/completions", chat, token=key, headers=headers)
            if good:
                assert (read.status, called.status) == (200, 200)
            else:
                assert fault_of(read).brief == ("PERMISSION_DENIED", "ADDRESS_REFUSED")
                assert (called.status, called.json["error"]["code"]) == (403, "address_refused")


async def test_a_removed_members_credentials_end_in_every_service(
    client: Client, new_person: NewPerson, intruder: Stranger
) -> None:
    """A team's key, revoked by its deletion, is refused by all services."""
    person = await new_person()
    org = (await person.ask("POST", "/api/v1/organisations", {"displayName": "Short"})).ok()["orgId"]
    session = (await person.ask("POST", "/api/v1/sessions/current:switchOrganisation", {"orgId": org})).ok()
    made = await client.ask(
        "POST", "/api/v1/apiKeys", {"displayName": "k", "scopes": SCOPES}, token=session["accessToken"]
    )
    key = made.ok()["secret"]
    paths = ("/api/v1/users/me", "/api/v1/posts", "/api/v1/models")
    for path in paths:
        (await client.ask("GET", path, token=key)).ok()
    fresh = (await client.ask("DELETE", f"/api/v1/organisations/{org}", token=session["accessToken"])).ok()
    assert fresh == {}

    async def refused_everywhere() -> bool:
        return all([(await client.ask("GET", path, token=key)).status == 401 for path in paths])

    await eventually("the key is refused everywhere", refused_everywhere)
    for path in paths:
        assert (await client.ask("GET", path, token=session["accessToken"])).status == 401


async def by_grpc(channel: Any, method: Method, message: Message, token: str) -> tuple[str, bytes]:
    """Reason and bytes of the answer, of a stream its first message."""
    metadata = (("authorization", f"Bearer {token}"),)
    raw = message.SerializeToString()
    try:
        if method.server_streaming:
            stream: Any = channel.unary_stream(method.path)(raw, metadata=metadata, timeout=20.0)
            said = await stream.read()
            stream.cancel()
            return "OK", b"" if said is grpc.aio.EOF else bytes(said)
        return "OK", bytes(await channel.unary_unary(method.path)(raw, metadata=metadata, timeout=20.0))
    except grpc.aio.AioRpcError as error:
        return fault_of_rpc(error).reason, repr(error).encode()


async def by_rest(client: Client, method: Method, message: Message, token: str) -> tuple[str, bytes]:
    """The same over REST."""
    binding = method.bindings[0]
    path, body = rest(binding, message)
    if method.server_streaming and not method.raw:
        try:
            async with client.watch(path, verb=binding.verb, body=body, token=token) as messages:
                return "OK", json.dumps(await messages.first()).encode()
        except NoStreamError:
            pass  # once more and whole: a refusal is no stream
    answer = await client.ask(binding.verb, path, body, token=token)
    return ("OK" if answer.status == 200 else fault_of(answer).reason), bytes(answer.body)
