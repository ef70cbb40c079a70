"""Browsers that log in elsewhere, for tests."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import grpc
from promptmesh.auth.v1 import federation_pb2 as pb

from services.mesh.errors import error_of
from tests.integration.auth.world import Client

PROTECTED = (("x-csrf-protection", "1"),)
COOKIE = "__Host-promptmesh-oidc"


class Browser:
    """A browser with a jar for cookies. Raises MeshError."""

    def __init__(self, client: Client) -> None:
        self.client, self.jar = client, dict[str, str]()
        self.said: list[str] = []

    async def __call__(self, method: str, request: Any, *headers: tuple[str, str]) -> Any:
        cookies = [("cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items()))] if self.jar else []
        metadata = (*self.client.metadata, *(headers or PROTECTED), *cookies)
        call = getattr(self.client._stub, method)(request, metadata=metadata, timeout=20.0)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
        self.said = [str(value) for key, value in await call.initial_metadata() if key == "set-cookie"]
        for one in self.said:
            name, _, rest = one.partition("=")
            value = rest.split(";")[0]
            if value:
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        return answer

    def bearing(self, credential: str) -> None:
        """Goes on with an access token; "": with none."""
        self.client = self.client.bearing(credential)

    async def begin(self, provider: str = "acme") -> str:
        """Where the provider's page is."""
        begun: pb.BeginFederatedLoginResponse = await self(
            "BeginFederatedLogin", pb.BeginFederatedLoginRequest(provider=provider)
        )
        return begun.authorization_url

    async def complete(self, query: dict[str, str], *, cookie: bool = False) -> pb.CompleteFederatedLoginResponse:
        """Brings the query of our page."""
        request = pb.CompleteFederatedLoginRequest(
            state=query.get("state", ""),
            code=query.get("code", ""),
            error=query.get("error", ""),
            issuer=query.get("iss", ""),
            cookie=cookie,
        )
        response: pb.CompleteFederatedLoginResponse = await self("CompleteFederatedLogin", request)
        return response


def query_of(url: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(url).query))
