"""Lets an edge go: `python -m gateway.drain --admin-port 9901`. What a pod's preStop runs.

Envoy tells its callers to connect elsewhere and takes calls as before, since some have not heard yet; this waits until
none is under way and a while has passed, so that what ends it afterwards cuts nobody off.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence

POLL_S = 1.0
TIMEOUT_S = 5.0
ACTIVE = "http.edge.downstream_rq_active"

Ask = Callable[[str, str], str]
"""(verb, path) → body; raises OSError."""


def drain(
    ask: Ask,
    *,
    at_least_s: float,
    at_most_s: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Drains; answers how many requests were still under way at the end, 0 unless the time was up.

    An administration that does not answer is that of an Envoy that is gone: there is nothing to wait for.
    """
    began = now()
    try:
        ask("POST", "/drain_listeners?graceful&skip_exit")
        while True:
            active = requests_under_way(ask("GET", f"/stats?filter=^{ACTIVE}$"))
            waited_s = now() - began
            if waited_s >= at_most_s or (active == 0 and waited_s >= at_least_s):
                return active
            sleep(POLL_S)
    except OSError:
        return 0


def requests_under_way(stats: str) -> int:
    """The gauge in the text that Envoy's /stats answers. ValueError if it is not there."""
    for line in stats.splitlines():
        name, _, value = line.partition(": ")
        if name == ACTIVE:
            return int(value)
    raise ValueError(f"Envoy's /stats does not tell {ACTIVE}; is this the edge's administration?")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.drain", description="Let an edge go.")
    parser.add_argument("--admin-port", type=int, required=True, help="port of Envoy's administration, on 127.0.0.1")
    parser.add_argument("--at-least-s", type=float, default=10.0, help="until everyone has heard that it goes")
    parser.add_argument("--at-most-s", type=float, default=1830.0, help="then calls under way are cut off")
    chosen = parser.parse_args(arguments)

    def ask(verb: str, path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{chosen.admin_port}{path}", method=verb)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return str(answer.read().decode())

    left = drain(ask, at_least_s=chosen.at_least_s, at_most_s=chosen.at_most_s)
    if left:
        print(f"The time was up with {left} requests under way.", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
