"""Whether the time of an answer tells who has an account: `python -m bench.enumeration`.

Log-in with a wrong password, a reset of the password and a registration, each for accounts that there are and are not,
in random order, straight at auth, in a mesh where addresses must be proved. The medians are printed and the two-sided
p-value of a rank test (Mann-Whitney, normal approximation), which a difference that somebody could use makes small.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import grpc
from promptmesh.auth.v1 import accounts_pb2, auth_pb2

from bench.auth_mesh import Auth, auth_mesh, auth_of
from bench.harness import row

ACCOUNTS = 10
WARM_UP = 20
SEED = 20261121
KINDS = ("CreateSession", "RequestPasswordReset", "Register")


def rank_test(ones: Sequence[float], others: Sequence[float]) -> float:
    """The two-sided p-value that two samples come from one distribution (Mann-Whitney U, normal approximation with
    tied ranks shared; good from some 20 values each)."""
    everything = sorted((value, which) for which, values in enumerate((ones, others)) for value in values)
    ranks, ties, at = [0.0, 0.0], 0.0, 0
    while at < len(everything):
        end = at
        while end < len(everything) and everything[end][0] == everything[at][0]:
            end += 1
        for _, which in everything[at:end]:
            ranks[which] += (at + 1 + end) / 2
        ties += (end - at) ** 3 - (end - at)
        at = end
    n, m = len(ones), len(others)
    total = n + m
    u = ranks[0] - n * (n + 1) / 2
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    return 1.0 if variance <= 0 else math.erfc(abs(u - n * m / 2) / math.sqrt(2 * variance))


async def _known(auth: Auth) -> list[str]:
    emails = [f"known-{number:03}@example.com" for number in range(ACCOUNTS)]
    for email in emails:
        await auth.register(email)
    for email in emails:
        await auth.verify(email)
    return emails


def _request(kind: str, email: str) -> auth_pb2.CreateSessionRequest | accounts_pb2.RequestPasswordResetRequest:
    if kind == "CreateSession":
        return auth_pb2.CreateSessionRequest(email=email, password="a guess of very many")
    return accounts_pb2.RequestPasswordResetRequest(email=email)


async def _once(auth: Auth, kind: str, email: str) -> float:
    call: Callable[[], Awaitable[object]] = (
        (lambda: auth.register(email)) if kind == "Register" else (lambda: auth(kind, _request(kind, email)))
    )
    began_s = time.perf_counter()
    with contextlib.suppress(grpc.aio.AioRpcError):  # LOGIN_FAILED
        await call()
    return time.perf_counter() - began_s


async def _measure(auth: Auth, kind: str, tries: int, rng: random.Random, emails: Sequence[str]) -> None:
    order = [True, False] * (tries + WARM_UP)
    rng.shuffle(order)
    took_s: dict[bool, list[float]] = {True: [], False: []}
    for number, known in enumerate(order):
        email = rng.choice(emails) if known else f"other-{rng.getrandbits(40):010x}@example.com"
        seconds = await _once(auth, kind, email)
        if number >= 2 * WARM_UP:
            took_s[known].append(seconds)
        # What the call left to do in the background is not the next one's; some of it is, and falls on both alike.
        await asyncio.sleep(rng.uniform(0.0, 0.02))
    ms = [statistics.median(took_s[known]) * 1e3 for known in (True, False)]
    row(f"{kind}, account there", f"{ms[0]:.2f} ms", f"{len(took_s[True])} tries")
    row(f"{kind}, no account", f"{ms[1]:.2f} ms", f"{len(took_s[False])} tries")
    row("  rank test", f"p = {rank_test(took_s[True], took_s[False]):.3f}", "small: they can be told apart")


async def _all(auth: Auth, tries: int, kinds: Sequence[str]) -> None:
    emails = await _known(auth)
    rng = random.Random(SEED)
    for kind in kinds:
        await _measure(auth, kind, tries, rng, emails)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.enumeration", description=__doc__)
    parser.add_argument("--tries", type=int, default=200, help="of each kind, with and without an account")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; all where none is named")
    options = parser.parse_args(arguments)

    async def run() -> None:
        auth = auth_of(mesh)
        try:
            await _all(auth, options.tries, options.kinds or KINDS)
        finally:
            await auth.channel.close(None)

    with auth_mesh({"PROMPTMESH_EMAIL_VERIFICATION": "required"}) as mesh:
        asyncio.run(run())


if __name__ == "__main__":
    main()
