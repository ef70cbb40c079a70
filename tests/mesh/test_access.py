"""Who may call which method, of every method of the contracts: what its access option says holds through the edge."""

from __future__ import annotations

import grpc
import pytest
import pytest_asyncio
from promptmesh.access.v1 import access_pb2

from gateway.contracts import Method
from tests.mesh.client import Client
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import Fault, fault_of_rpc
from tests.mesh.people import Person
from tests.mesh.wire import open_methods

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

OPENAI = "promptmesh.inference.v1.OpenAiService"
METHODS = [method for method in open_methods() if method.service != OPENAI]
#: Its errors are OpenAI's, and natively its calls end well.
OPENAI_METHODS = [method for method in open_methods() if method.service == OPENAI]
SCOPES = sorted({scope for method in open_methods() for scope in method.access.scopes})


def named(methods: list[Method]) -> list[object]:
    return [pytest.param(method, id=f"{method.service.rpartition('.')[2]}.{method.name}") for method in methods]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner(new_person: NewPerson) -> Person:
    return await new_person()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keys(owner: Person) -> dict[str, str]:
    """Scope → an API key with all others; "" → one with all."""
    made = {scope: await owner.api_key(*[one for one in SCOPES if one != scope]) for scope in SCOPES}
    return made | {"": await owner.api_key(*SCOPES)}


@pytest.mark.parametrize("method", named([method for method in METHODS if not method.public]))
async def test_nobody_is_let_in_without_a_credential(channel: grpc.aio.Channel, method: Method) -> None:
    fault = await refused(channel, method, "")

    assert fault.brief == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")


@pytest.mark.parametrize("method", named([method for method in METHODS if method.access.roles]))
async def test_a_person_without_the_role_is_refused(channel: grpc.aio.Channel, owner: Person, method: Method) -> None:
    fault = await refused(channel, method, owner.token)

    assert fault.brief == ("PERMISSION_DENIED", "ROLE_MISSING")


@pytest.mark.parametrize(
    "method", named([method for method in METHODS if method.access.audience == access_pb2.AUDIENCE_SESSION])
)
async def test_what_is_for_people_takes_no_api_key(
    channel: grpc.aio.Channel, keys: dict[str, str], method: Method
) -> None:
    fault = await refused(channel, method, keys[""])

    assert fault.brief == ("PERMISSION_DENIED", "AUDIENCE_MISMATCH")


@pytest.mark.parametrize("method", named([method for method in METHODS if method.access.scopes and not method.public]))
async def test_a_key_without_the_scope_is_refused(
    channel: grpc.aio.Channel, keys: dict[str, str], method: Method
) -> None:
    for scope in method.access.scopes:
        fault = await refused(channel, method, keys[scope])
        assert fault.brief == ("PERMISSION_DENIED", "SCOPE_MISSING")


@pytest.mark.parametrize("method", named(OPENAI_METHODS))
async def test_openai_methods_take_keys_with_the_scope_alone(
    client: Client, keys: dict[str, str], method: Method
) -> None:
    binding = method.bindings[0]
    path = binding.path.replace("{model=**}", "demo")
    for token, status, code in (
        ("", 401, "invalid_api_key"),
        (keys["inference:invoke"], 403, "insufficient_permissions"),
    ):
        answer = await client.ask(binding.verb, path, {} if binding.body else None, token=token)
        assert (answer.status, answer.json["error"]["code"]) == (status, code)
        assert answer.headers["x-request-id"]


async def refused(channel: grpc.aio.Channel, method: Method, token: str) -> Fault:
    """The error of a call with an empty request: who may not call is told that first."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    if method.server_streaming:
        call = channel.unary_stream(method.path)(b"", metadata=metadata).read()
    else:
        call = channel.unary_unary(method.path)(b"", metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return fault_of_rpc(caught.value)
