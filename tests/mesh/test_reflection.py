"""An operator's tools: `buf curl` with reflection, through the edge and straight to each service."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from services.local.testing import LocalMesh
from tests.mesh.people import CLEAN, Person
from tests.mesh.wire import all_contracts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

BUF = Path(sys.executable).parent / "buf"
SERVICES = ["auth", "prompts", "moderation", "inference"]
PROTOCOLS = ["grpc", "grpcweb"]
#: One method of each service: its name, a request, and a field that its answer has.
CALLS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "auth": ("promptmesh.auth.v1.AuthService/GetMe", {}, "userId"),
    "prompts": ("promptmesh.prompts.v1.PostService/CreatePost", {"title": "A title", "body": CLEAN}, "postId"),
    "moderation": ("promptmesh.moderation.v1.ModerationService/Screen", {"text": CLEAN}, "verdict"),
    "inference": ("promptmesh.inference.v1.InferenceService/ListModels", {}, "models"),
}
INTERNAL = [method.path.lstrip("/") for method in all_contracts().methods if method.internal]
_UNIMPLEMENTED, _UNAUTHENTICATED = 12 << 3, 16 << 3  # buf's exit code is the status, shifted

Detail = TypeVar("Detail", ErrorInfo, BadRequest)


@dataclass(frozen=True)
class Ran:
    """What buf came to."""

    code: int
    said: str
    complained: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.complained
        return json.loads(self.said)

    def detail(self, kind: type[Detail]) -> Detail:
        """A detail of the error; buf shows their bytes, whatever reflection knows of their types."""
        for one in json.loads(self.complained)["details"]:
            if one["type"] == kind.DESCRIPTOR.full_name:
                return kind.FromString(base64.b64decode(one["value"] + "=="))
        raise AssertionError(f"no {kind.__name__} in {self.complained}")


async def buf_curl(*arguments: str) -> Ran:
    """`buf curl` over HTTP/2 without TLS."""
    process = await asyncio.create_subprocess_exec(
        *(str(BUF), "curl", "--http2-prior-knowledge", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, said.decode(), complained.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def addresses(mesh: LocalMesh) -> dict[str, str]:
    """Where the edge and each service listen."""
    processes = await asyncio.to_thread(mesh.processes)
    return {"edge": mesh.url} | {name: f"http://127.0.0.1:{processes[f'{name}-0']['port']}" for name in SERVICES}


@pytest.mark.parametrize("where", ["edge", *SERVICES])
@pytest.mark.parametrize("version", ["grpc-v1", "grpc-v1alpha"])
async def test_reflection_lists_every_method(addresses: dict[str, str], where: str, version: str) -> None:
    listed = await buf_curl("--protocol", "grpc", "--reflect-protocol", version, "--list-methods", addresses[where])

    assert listed.code == 0, listed.complained
    assert set(listed.said.split()) >= {method.path.lstrip("/") for method in all_contracts().methods}


@pytest.mark.parametrize("where", ["edge", *SERVICES])
async def test_reflection_lists_every_service(addresses: dict[str, str], where: str) -> None:
    listed = await buf_curl("--protocol", "grpc", "--list-services", addresses[where])

    assert set(listed.said.split()) >= {service.full_name for service in all_contracts().services}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_called_through_the_edge(
    addresses: dict[str, str], someone: Person, service: str, protocol: str
) -> None:
    method, request, field = CALLS[service]

    answered = await _call(addresses["edge"], method, request, someone, protocol)

    assert answered.json[field]


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_called_straight(addresses: dict[str, str], someone: Person, service: str) -> None:
    method, request, field = CALLS[service]

    answered = await _call(addresses[service], method, request, someone)

    assert answered.json[field]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_is_called_through_the_edge(addresses: dict[str, str], someone: Person, protocol: str) -> None:
    request = {"model": "demo", "messages": [{"role": "MESSAGE_ROLE_USER", "content": "Hello."}]}

    answered = await _call(
        addresses["edge"], "promptmesh.inference.v1.InferenceService/Generate", request, someone, protocol
    )

    assert answered.code == 0, answered.complained
    assert '"started"' in answered.said
    assert '"finishReason":"FINISH_REASON_STOP"' in answered.said.replace(" ", "")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_error_comes_with_its_details(addresses: dict[str, str], someone: Person, protocol: str) -> None:
    refused = await _call(
        addresses["edge"], "promptmesh.prompts.v1.PostService/GetPost", {"postId": "7"}, someone, protocol
    )

    assert refused.code == 3 << 3
    assert refused.detail(ErrorInfo).reason == "INVALID_FIELD"
    assert [one.field for one in refused.detail(BadRequest).field_violations] == ["post_id"]


@pytest.mark.parametrize("method", INTERNAL)
async def test_what_is_for_services_alone_is_refused_through_the_edge(
    addresses: dict[str, str], admin: Person, method: str
) -> None:
    for protocol in PROTOCOLS:
        refused = await _call(addresses["edge"], method, {}, admin, protocol)
        assert refused.code == _UNIMPLEMENTED, refused


@pytest.mark.parametrize("method", [one for one in INTERNAL if ".auth." in one])
async def test_what_is_for_services_alone_is_refused_to_people_by_the_service_too(
    addresses: dict[str, str], admin: Person, method: str
) -> None:
    with_token = await _call(addresses["auth"], method, {}, admin)
    without = await buf_curl("--protocol", "grpc", "-d", "{}", f"{addresses['auth']}/{method}")

    assert with_token.detail(ErrorInfo).reason == "AUDIENCE_MISMATCH"
    assert without.code == _UNAUTHENTICATED


async def _call(address: str, method: str, request: object, caller: Person, protocol: str = "grpc") -> Ran:
    return await buf_curl(
        *("--protocol", protocol, "--reflect-protocol", "grpc-v1"),
        *("-H", f"authorization: Bearer {caller.token}", "-d", json.dumps(request), f"{address}/{method}"),
    )
