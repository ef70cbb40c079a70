"""Errors as every client tells them, and which of them a broken mesh may answer."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

import aiohttp

from tests.mesh.client import Answer
from tests.mesh.errors import INTERNALS, REASONS, fault_of

#: What a broken mesh answers to whoever does nothing wrong. Each says that trying again may help.
PASSING = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED"})
#: Nobody answered: the connection was refused, reset or lost, or the client's own time was over.
NO_ANSWER = frozenset({"NO_ANSWER", "STREAM_CUT", "CANCELLED"})
#: With no reason these are the client's own: no connection, or the time that its caller gave it was over.
OF_THE_WAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
OF_CONNECTIONS = re.compile(
    r"connect|Socket closed|Connection reset|Broken pipe|GOAWAY|Stream removed|Deadline Exceeded|in time|timeout_s|RST",
    re.IGNORECASE,
)
#: What a provider that lies makes of a call of a model, beyond what passes.
OF_PROVIDERS = frozenset(
    {"PROVIDER_REJECTED", "PROVIDER_CONTENT_REFUSED", "CONTEXT_LENGTH_EXCEEDED", "MODEL_NOT_FOUND"}
)
#: Of OpenAI's clients: codes by status.
OPENAI_STATUSES = frozenset({429, 502, 503, 504})
OPENAI_PROVIDER_CODES = frozenset({"context_length_exceeded", "content_policy_violation", "model_not_found"})
EXCERPT_CHARACTERS = 300


class FailureError(Exception):
    """A call that was not acknowledged. `code`: a gRPC status by name, or one of NO_ANSWER; `strange`: why it is an
    error that nobody may get, or empty."""

    def __init__(self, code: str, reason: str, message: str, strange: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message[:EXCERPT_CHARACTERS]}")
        self.code, self.reason, self.strange = code, reason, strange
        self.retry_after_s = retry_after_s

    @property
    def brief(self) -> str:
        """Code and reason."""
        return f"{self.code} {self.reason}".strip()

    @property
    def passes(self) -> bool:
        """Whether the same may go well later."""
        return self.code in PASSING | NO_ANSWER


def strangeness(code: str, reason: str, message: str, allowed: Collection[str] = ()) -> str:
    """Why an error of a typed client may not be, or an empty text. `allowed`: reasons that the asked for call has."""
    if code in NO_ANSWER or (code in OF_THE_WAY and not reason and OF_CONNECTIONS.search(message)):
        return ""  # the client's own: nothing of the mesh answered
    if INTERNALS.search(message) and reason:
        return f"tells of the inside: {message[:EXCERPT_CHARACTERS]}"
    if reason and f"REASON_{reason}" not in REASONS:
        return f"is {code} with a reason that no contract knows, {reason}: {message[:EXCERPT_CHARACTERS]}"
    if reason == "INTERNAL":
        return f"is a fault of the server: {message[:EXCERPT_CHARACTERS]}"
    if code in PASSING and reason:
        return ""
    if reason and reason in allowed:
        return ""
    return f"is {code} with the reason {reason!r}: {message[:EXCERPT_CHARACTERS]}"


def failure(code: str, reason: str, message: str, allowed: Collection[str] = (), retry_s: float = 0.0) -> FailureError:
    """An error of a typed client."""
    return FailureError(code, reason, message, strangeness(code, reason, message, allowed), retry_s)


def failure_of_answer(answer: Answer, allowed: Collection[str] = ()) -> FailureError:
    """An error over plain HTTP, which must have all that belongs to one."""
    try:
        fault = fault_of(answer)
    except (AssertionError, LookupError, json.JSONDecodeError) as error:
        return FailureError(
            str(answer.status),
            "",
            repr(answer.body[:EXCERPT_CHARACTERS]),
            f"is HTTP {answer.status} and no error of the mesh ({error!s:.200}): {answer.body[:EXCERPT_CHARACTERS]!r}",
        )
    return failure(fault.brief[0], fault.reason, fault.message, allowed)


def failure_of_connection(error: aiohttp.ClientError | TimeoutError | OSError) -> FailureError:
    """No answer over plain HTTP."""
    return FailureError("NO_ANSWER", "", type(error).__name__)


def failure_of_openai(status: int, body: Any, message: str) -> FailureError:
    """An error status that OpenAI's client raised; `body` is what it found under `error`."""
    shaped = isinstance(body, dict) and {"message", "type", "param", "code"} <= set(body)
    code = str(body.get("code") or "") if isinstance(body, dict) else ""
    strange = ""
    if not shaped:
        strange = f"is {status} and not in OpenAI's shape: {str(body)[:EXCERPT_CHARACTERS]} {message[:100]}"
    elif status not in OPENAI_STATUSES and status != 400 and code not in OPENAI_PROVIDER_CODES:
        # 400: a provider that refuses a request is told on with its own code.
        strange = f"is {status} {code}: {message[:EXCERPT_CHARACTERS]}"
    name = {429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
    return FailureError(name.get(status, str(status)), code, message, strange)
