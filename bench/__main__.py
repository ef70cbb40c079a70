"""`make bench`: every figure that README tells, from this machine, now. `python -m bench NAME` measures one thing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

from bench import footprint, publishing
from bench.harness import row

ALL: dict[str, Callable[[], None]] = {"footprint": footprint.main, "publishing": lambda: publishing.main([])}


def main() -> None:
    names = sys.argv[1:] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}")
    row("machine", f"{platform.machine()}", f"Python {platform.python_version()}, {platform.system()}")
    for name in names:
        print(f"\n{name}", flush=True)
        ALL[name]()


if __name__ == "__main__":
    main()
