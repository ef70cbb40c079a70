"""The two clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from promptmesh import _async_services as on_loop
from promptmesh import _sync_services as plain
from promptmesh._async_transport import AsyncTransport
from promptmesh._channels import address_of
from promptmesh._credentials import Login
from promptmesh._inference import AsyncInference, Inference
from promptmesh._retries import Retries
from promptmesh._transport import Transport

#: Of a unary call, all its attempts together.
TIMEOUT_S = 30.0


class Promptmesh:
    """A client for threads. One is enough for a program: it is safe for threads and keeps one connection.

    address: `https://…` (TLS) or `http://…` (plaintext), with a port where it is not 443 or 80.
    api_key: a key, `pm_…`; or
    email, password: a person's, who is logged in at the first call and kept so. With neither, only what is public
        works.
    totp: answers the present code of the person's authenticator app, where the account has one; asked at each log-in,
        on whichever thread makes it.
    timeout_s: of a call that names none, all its attempts together. Streams of answers have 600 s, watches no end.
    root_certificates: PEM, where the server's certificate is not signed by an authority that gRPC knows.

    Calls raise PromptmeshError; see there for its kinds.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        email: str | None = None,
        password: str | None = None,
        totp: Callable[[], str] | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        root_certificates: bytes | None = None,
    ) -> None:
        self._transport = Transport(
            **_options(address, api_key, email, password, totp, timeout_s, retries), root_certificates=root_certificates
        )
        self.posts = plain.Posts(self._transport)
        self.auth = plain.Auth(self._transport)
        self.inference = Inference(self._transport)
        self.moderation = plain.Moderation(self._transport)
        self.policy = plain.Policy(self._transport)
        self.config = plain.Config(self._transport)
        self.limits = plain.Limits(self._transport)
        self.provider_keys = plain.ProviderKeys(self._transport)
        self.usage = plain.Usage(self._transport)
        self.accounts = plain.Accounts(self._transport)
        self.factors = plain.Factors(self._transport)
        self.federation = plain.Federation(self._transport)
        self.organisations = plain.Organisations(self._transport)
        self.administration = plain.Administration(self._transport)
        self.audit = plain.Audit(self._transport)
        self.plans = plain.Plans(self._transport)

    def log_out(self) -> None:
        """Ends the person's session on the server. The next call logs in anew. With an API key: nothing."""
        self._transport.log_out()

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._transport.close()

    def __enter__(self) -> Promptmesh:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class AsyncPromptmesh:
    """A client for one event loop; else as Promptmesh."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        email: str | None = None,
        password: str | None = None,
        totp: Callable[[], str] | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        root_certificates: bytes | None = None,
    ) -> None:
        self._transport = AsyncTransport(
            **_options(address, api_key, email, password, totp, timeout_s, retries), root_certificates=root_certificates
        )
        self.posts = on_loop.AsyncPosts(self._transport)
        self.auth = on_loop.AsyncAuth(self._transport)
        self.inference = AsyncInference(self._transport)
        self.moderation = on_loop.AsyncModeration(self._transport)
        self.policy = on_loop.AsyncPolicy(self._transport)
        self.config = on_loop.AsyncConfig(self._transport)
        self.limits = on_loop.AsyncLimits(self._transport)
        self.provider_keys = on_loop.AsyncProviderKeys(self._transport)
        self.usage = on_loop.AsyncUsage(self._transport)
        self.accounts = on_loop.AsyncAccounts(self._transport)
        self.factors = on_loop.AsyncFactors(self._transport)
        self.federation = on_loop.AsyncFederation(self._transport)
        self.organisations = on_loop.AsyncOrganisations(self._transport)
        self.administration = on_loop.AsyncAdministration(self._transport)
        self.audit = on_loop.AsyncAudit(self._transport)
        self.plans = on_loop.AsyncPlans(self._transport)

    async def log_out(self) -> None:
        """Ends the person's session on the server. The next call logs in anew. With an API key: nothing."""
        await self._transport.log_out()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncPromptmesh:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


def _options(
    address: str,
    api_key: str | None,
    email: str | None,
    password: str | None,
    totp: Callable[[], str] | None,
    timeout_s: float,
    retries: Retries | None,
) -> dict[str, Any]:
    if (email is None) != (password is None):
        raise ValueError("email and password go together")
    if totp is not None and email is None:
        raise ValueError("totp goes with email and password")
    if api_key is not None and email is not None:
        raise ValueError("give an api_key, or email and password, not both")
    if timeout_s <= 0:
        raise ValueError(f"timeout_s must be above 0, not {timeout_s}")
    return {
        "address": address_of(address),
        "api_key": api_key or "",
        "login": None if email is None or password is None else Login(email, password, totp),
        "retries": retries or Retries(),
        "timeout_s": timeout_s,
    }
