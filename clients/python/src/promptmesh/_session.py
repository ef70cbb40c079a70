"""A person's session: logs in at the first call, exchanges tokens when they end; one exchange at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from promptmesh import types
from promptmesh._credentials import Login, Tokens, tokens_of
from promptmesh._errors import DeadlineExceededError, UnauthenticatedError
from promptmesh._retries import Budget


class Session:
    """Tokens for calls, safe for threads."""

    def __init__(
        self,
        login: Login,
        create: Callable[[types.CreateSessionRequest, Budget], types.Session],
        refresh: Callable[[types.RefreshSessionRequest, Budget], types.Session],
        complete: Callable[[types.CompleteSessionRequest, Budget], types.Session],
    ) -> None:
        self._login, self._create, self._refresh, self._complete = login, create, refresh, complete
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None
        self._refused = ""

    def access_token(self, budget: Budget) -> str:
        """A token to call with. Raises what logging in came to."""
        held = self._tokens
        if held is not None and held.access != self._refused and held.is_good():
            return held.access
        left_s = budget.left_s()
        if not self._lock.acquire(timeout=-1 if left_s is None else left_s):
            raise DeadlineExceededError("timeout_s was over while another call logged in", code="DEADLINE_EXCEEDED")
        try:
            held = self._tokens
            if held is None or held.access == self._refused or not held.is_good():
                held = self._tokens = tokens_of(self._renewed(held, budget))
            return held.access
        finally:
            self._lock.release()

    def _renewed(self, held: Tokens | None, budget: Budget) -> types.Session:
        if held is not None:
            # A refresh token is good once, and answered again for some seconds. If its answer got lost for longer, its
            # session is over: then the password opens another one.
            try:
                return self._refresh(types.RefreshSessionRequest(refresh_token=held.refresh), budget)
            except UnauthenticatedError:
                pass
        request = types.CreateSessionRequest(email=self._login.email, password=self._login.password)
        session = self._create(request, budget)
        proof = self._login.second_step(session)
        return self._complete(proof, budget) if proof is not None else session

    def refuse(self, token: str) -> None:
        """The mesh does not take the token any more. What is said of an older one is of no account."""
        held = self._tokens
        if held is not None and held.access == token:
            self._refused = token

    def forget(self) -> str:
        """Leaves the session; answers its access token, or an empty text."""
        with self._lock:
            held, self._tokens = self._tokens, None
        return held.access if held else ""
