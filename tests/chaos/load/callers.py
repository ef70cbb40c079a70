"""Whoever calls: the official clients in processes of their own, and plain HTTP, all by one method."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from tests.chaos.load.failures import FailureError, failure, failure_of_answer, failure_of_connection
from tests.chaos.load.methods import Method
from tests.mesh.client import Client

#: Of one call with its retries by the client. After it plus a reserve nobody waits any longer: the client hangs.
CALL_TIMEOUT_S = 30.0
HANGS_AFTER_S = 3 * CALL_TIMEOUT_S
LINE_BYTES_MAX = 16 * 1024 * 1024
Credential = Mapping[str, str]  # {"key"}, {"email", "password"} or nothing

#: Reasons of the TypeScript client itself, where no answer came; their codes are those of gRPC.
_OF_CLIENTS = {"CONNECTION_FAILED": "NO_ANSWER", "DEADLINE_PASSED": "DEADLINE_EXCEEDED", "STREAM_CUT": "STREAM_CUT"}


class Caller(Protocol):
    """A client of the mesh."""

    name: str

    async def call(
        self, who: Credential, method: Method, fields: dict[str, Any], allowed: Collection[str] = ()
    ) -> dict[str, Any]:
        """The answer as the contracts' JSON, a list as {"page": […]}. Raises FailureError; `allowed`: reasons that this
        call may be refused with, beside those that pass."""
        ...


class ProgramCaller:
    """An official client that a program of ./programs drives."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._ids = itertools.count()
        self._queues: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(
        self, who: Credential, method: Method, fields: dict[str, Any], allowed: Collection[str] = ()
    ) -> dict[str, Any]:
        """See Caller."""
        return await self._ask(allowed, do="call", who=who, method=method, fields=fields, timeout_s=CALL_TIMEOUT_S)

    async def generate(
        self,
        who: Credential,
        method: Method,
        fields: dict[str, Any],
        allowed: Collection[str],
        *,
        leave_after: int | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> dict[str, Any]:
        """A typed stream: {"text", "usage", "done", "started"}, or {"left": True} after so many pieces."""
        return await self._ask(
            allowed,
            do="generate",
            who=who,
            method=method,
            fields=fields,
            timeout_s=timeout_s,
            more={"leave_after": leave_after},
        )

    async def watch(self, who: Credential, method: Method, fields: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Messages of a watch that resumes by itself, until the iterator is closed. Raises FailureError."""
        number, queue = self._send(do="watch", who=who, method=method, fields=fields)
        try:
            while True:
                line = await queue.get()
                if "event" in line:
                    yield line["event"]
                elif "error" in line:
                    raise _failure(line["error"], ())
                else:
                    return
        finally:
            self._queues.pop(number, None)
            self._write({"id": number, "do": "stop"})

    async def close(self) -> None:
        """Ends the program."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _ask(
        self, allowed: Collection[str], *, more: Mapping[str, Any] | None = None, **how: Any
    ) -> dict[str, Any]:
        number, queue = self._send(**how, more=more)
        try:
            async with asyncio.timeout(HANGS_AFTER_S):
                line = await queue.get()
        except TimeoutError:
            raise FailureError(
                "HANGS", "", "", f"hangs: {how['method'].python} of the {self.name} client said nothing"
            ) from None
        finally:
            # Also where whoever asked was cancelled: the client lets go of the call.
            self._queues.pop(number, None)
            self._write({"id": number, "do": "stop"})
        if "error" in line:
            raise _failure(line["error"], allowed)
        said: dict[str, Any] = line["ok"]
        return said

    def _send(
        self,
        *,
        do: str,
        who: Credential,
        method: Method,
        fields: dict[str, Any],
        timeout_s: float | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> tuple[int, asyncio.Queue[dict[str, Any]]]:
        number = next(self._ids)
        queue = self._queues[number] = asyncio.Queue()
        names = {"service": method.service, "python": method.python, "typescript": method.typescript}
        asked = {"id": number, "do": do, "as": dict(who), "request": method.request, "fields": fields, **names}
        self._write(asked | {"timeout_s": timeout_s} | dict(more or {}))
        return number, queue

    def _write(self, asked: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(json.dumps(asked).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if said["id"] in self._queues:
                self._queues[said["id"]].put_nowait(said)
        gone = {"error": {"code": "RAISED", "reason": "ended", "message": f"the {self.name} client's program ended"}}
        for queue in self._queues.values():
            queue.put_nowait(gone)


class RestCaller:
    """Plain HTTP. `client.call` never retries."""

    name = "rest"

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(
        self, who: Credential, method: Method, fields: dict[str, Any], allowed: Collection[str] = ()
    ) -> dict[str, Any]:
        """See Caller; `who` has a key or a token."""
        verb, path, body = method.rest(fields)
        token = who.get("key") or who.get("token") or ""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await self.client.ask(verb, path, body, token=token)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise failure_of_connection(error) from error
        if answer.status != 200:
            raise failure_of_answer(answer, allowed)
        said: dict[str, Any] = answer.json
        return {"page": said["posts"]} if "posts" in said else said


@contextlib.asynccontextmanager
async def program(name: str, command: Sequence[str | Path], folder: Path) -> AsyncIterator[ProgramCaller]:
    """Starts a client's program; what it says on its error output is in `<folder>/<name>.stderr`."""
    with (folder / f"{name}.stderr").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_BYTES_MAX,
        )
        caller = ProgramCaller(name, process)
        try:
            yield caller
        finally:
            await caller.close()


def _failure(said: Mapping[str, Any], allowed: Collection[str]) -> FailureError:
    code, reason = str(said["code"]), str(said["reason"])
    if code == "RAISED":
        return FailureError(code, reason, said["message"], f"the client raised {reason}: {said['message']}")
    if reason in _OF_CLIENTS:
        code, reason = _OF_CLIENTS[reason], ""
    return failure(code, reason, said["message"], allowed, float(said.get("retry_after_s") or 0.0))
