"""What a stream's messages and ends mean. Pure: the sync and the async stream read, wait and open by themselves.

A stream without its last event was cut, whatever its status says: over HTTP/1.1 an abort can look like a clean end. A
watch is opened again where it ended without need, behind the last message seen.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Generic

from promptmesh import types
from promptmesh._errors import (
    AbortedError,
    CancelledError,
    PromptmeshError,
    RateLimitedError,
    ServerError,
    StreamCutError,
    UnauthenticatedError,
    UnavailableError,
    error_of_code,
)
from promptmesh._method import A, Method, Q
from promptmesh._retries import Attempts, Budget, Retries

_CUT = "the stream ended without its last event: what came is not all"
_SLOW = "WATCHER_TOO_SLOW"


class Act(Enum):
    """What to do with a message."""

    GIVE = auto()  # to the caller
    LAST = auto()  # to the caller, and nothing comes after it
    SKIP = auto()
    REOPEN = auto()
    REOPEN_AFRESH = auto()  # with another credential


class Course(Generic[Q, A]):
    """A stream that ends by its last event and is not opened again once it has begun."""

    def __init__(self, method: Method[Q, A], request: Q, retries: Retries, budget: Budget) -> None:
        self.method, self.request, self.budget = method, request, budget
        self._retries = retries
        self._opening = Attempts(retries, budget, may_retry=method.may_retry)
        self._has_begun = False
        self._was_refused = False
        self._request_id = ""

    def message(self, message: A) -> Act:
        """Takes a message. Raises what an `error` event tells."""
        self._has_begun = True
        self._was_refused = False
        if not self.method.ends:
            return Act.GIVE
        return self._event(message, message.WhichOneof("event") or "")

    def _event(self, message: Any, event: str) -> Act:
        if event == "started":
            self._request_id = message.started.request_id
        if event == "error":
            error = message.error
            raise error_of_code(error.code, error.reason, error.message, self._request_id)
        return Act.LAST if event == "done" else Act.GIVE

    def ended(self) -> float | None:
        """The status was OK, and no last event came before it. None: all the same it was the end."""
        if not self.method.ends:
            return None
        return self.failed(StreamCutError(_CUT, code="DATA_LOSS", request_id=self._request_id))

    def failed(self, error: PromptmeshError, *, has_other_credential: bool = False) -> float:
        """The stream broke. Answers after how many seconds to open it again, or raises what the caller is to know."""
        if isinstance(error, UnauthenticatedError) and has_other_credential and not self._was_refused:
            if not self._has_begun or self._resumes(error):
                self._was_refused = True
                return 0.0
        elif not self._has_begun:
            wait_s = self._opening.wait_s(error)
            if wait_s is not None:
                return wait_s
        elif self._resumes(error):
            return self._again(error)
        if self._has_begun and _is_cut(error) and not isinstance(error, StreamCutError):
            raise StreamCutError(
                f"{_CUT} ({error.message})", code=error.code, request_id=self._request_id or error.request_id
            )
        raise error

    def reopen_s(self) -> float:
        """After how many seconds to open again what the mesh ended in good order."""
        return 0.0

    def _resumes(self, error: PromptmeshError) -> bool:
        return False

    def _again(self, error: PromptmeshError) -> float:
        raise error


class Watching(Course[Q, A]):
    """A stream that goes on: once begun it is opened again, behind the last message seen, until `budget` ends."""

    def __init__(self, method: Method[Q, A], request: Q, retries: Retries, budget: Budget) -> None:
        super().__init__(method, request, retries, budget)
        self._failures = 0

    def _event(self, message: Any, event: str) -> Act:
        if event != "done":
            self._failures = 0
        if message.cursor:
            request: Any = self.request
            request.after = message.cursor
        if event == "heartbeat":
            return Act.SKIP
        if event == "done" and message.done.reason == types.WATCH_END_DRAINING:
            return Act.REOPEN
        if event == "done" and message.done.reason == types.WATCH_END_CREDENTIAL_ENDED:
            return Act.REOPEN_AFRESH
        return super()._event(message, event)

    def reopen_s(self) -> float:
        self._failures += 1  # until an event comes: who ends every stream at once is not asked without pause
        return self._retries.wait_s(self._failures)

    def _resumes(self, error: PromptmeshError) -> bool:
        return (
            _is_cut(error)
            or isinstance(error, UnavailableError | RateLimitedError | UnauthenticatedError)
            or (isinstance(error, AbortedError) and error.reason == _SLOW)
        )

    def _again(self, error: PromptmeshError) -> float:
        if isinstance(error, UnauthenticatedError):
            raise error
        self._failures += 1
        wait_s = max(self._retries.wait_s(self._failures), error.retry_after_s or 0.0)
        if not self.budget.allows(wait_s):
            raise error
        return wait_s


def _is_cut(error: PromptmeshError) -> bool:
    """Whether the connection ended, rather than the mesh having said something."""
    return isinstance(error, StreamCutError) or (
        not error.reason and isinstance(error, UnavailableError | ServerError | CancelledError)
    )
