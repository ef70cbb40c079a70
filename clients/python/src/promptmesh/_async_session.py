"""A person's session for coroutines: the exchange of tokens is a task of its own, which all calls wait for.

A call that is cancelled meanwhile does not cancel it: a refresh token is good once, and its answer must be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from promptmesh import types
from promptmesh._credentials import Login, Tokens, tokens_of
from promptmesh._errors import DeadlineExceededError, UnauthenticatedError
from promptmesh._retries import Budget


class AsyncSession:
    """Tokens for calls of one event loop."""

    def __init__(
        self,
        login: Login,
        create: Callable[[types.CreateSessionRequest], Awaitable[types.Session]],
        refresh: Callable[[types.RefreshSessionRequest], Awaitable[types.Session]],
        complete: Callable[[types.CompleteSessionRequest], Awaitable[types.Session]],
    ) -> None:
        self._login, self._create, self._refresh, self._complete = login, create, refresh, complete
        self._renewal: asyncio.Task[Tokens] | None = None
        self._tokens: Tokens | None = None
        self._refused = ""

    async def access_token(self, budget: Budget) -> str:
        """A token to call with. Raises what logging in came to."""
        held = self._tokens
        if held is not None and held.access != self._refused and held.is_good():
            return held.access
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(held))
            self._renewal.add_done_callback(self._renewed)
        renewal = self._renewal
        done, _ = await asyncio.wait({renewal}, timeout=budget.left_s())
        if not done:
            raise DeadlineExceededError("timeout_s was over before the log-in", code="DEADLINE_EXCEEDED")
        return renewal.result().access

    async def _renew(self, held: Tokens | None) -> Tokens:
        if held is not None:
            # A refresh token is good once, and answered again for some seconds. If its answer got lost for longer, its
            # session is over: then the password opens another one.
            try:
                session = await self._refresh(types.RefreshSessionRequest(refresh_token=held.refresh))
            except UnauthenticatedError:
                pass
            else:
                return self._keep(session)
        request = types.CreateSessionRequest(email=self._login.email, password=self._login.password)
        session = await self._create(request)
        proof = self._login.second_step(session)
        return self._keep(await self._complete(proof) if proof is not None else session)

    def _keep(self, session: types.Session) -> Tokens:
        self._tokens = tokens_of(session)
        return self._tokens

    def _renewed(self, task: asyncio.Task[Tokens]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # seen: those who wait for it raise it

    def refuse(self, token: str) -> None:
        """The mesh does not take the token any more. What is said of an older one is of no account."""
        held = self._tokens
        if held is not None and held.access == token:
            self._refused = token

    def forget(self) -> str:
        """Leaves the session; answers its access token, or an empty text."""
        held, self._tokens = self._tokens, None
        return held.access if held else ""

    def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
