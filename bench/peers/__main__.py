"""`python -m bench.peers`: other gateways and ours in front of one mock provider, in turn, round by round."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from dataclasses import asdict

from bench.peers import environments, table
from bench.peers.loads import pin
from bench.peers.rounds import CALLERS, MOCK, Round, measure, mock
from bench.peers.systems import SYSTEMS

RESULTS = environments.CACHE / "results.json"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, with `systems` as a list of names that exist."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"of {', '.join(SYSTEMS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="each system once in each; medians are told")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load, after its warm-up")
    parser.add_argument("--cores", type=int, default=2, help="that everything shares: system, mock and load")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="S", help="of others: waited for before each load")
    parser.add_argument("--lock", action="store_true", help="only write the locks of the peers again")
    options = parser.parse_args(arguments)
    options.systems = [name.strip() for name in options.systems.split(",") if name.strip()]
    unknown = [name for name in options.systems if name not in SYSTEMS]
    if unknown:
        parser.error(f"no system {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    if options.rounds < 1 or options.seconds <= 0 or options.cores < 1:
        parser.error("--rounds, --seconds and --cores are above zero")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    if options.lock:
        environments.lock_again()
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that what was started is ended
    for name in options.systems:
        SYSTEMS[name].set_up()
    cores = pin(options.cores)
    print(
        f"{len(cores)} cores, {CALLERS} callers, {options.rounds} rounds of {options.seconds:g} s; "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.2f}",
        flush=True,
    )
    found: dict[str, list[Round]] = {name: [] for name in (MOCK, *options.systems)}
    try:
        compare(options, found)
    finally:  # what was measured is told, even where somebody has had enough
        tell(found)
    return 1 if any(one.fault for rounds in found.values() for one in rounds) else 0


def compare(options: argparse.Namespace, found: dict[str, list[Round]]) -> None:
    """Each round of each system, in turn, into `found`."""
    for number in range(1, options.rounds + 1):
        for name, rounds in found.items():
            with mock() as provider:
                one = measure(SYSTEMS.get(name), provider, options.seconds, options.quiet)
            rounds.append(one)
            said = f"unary {table.rate('unary')(one):,.0f}/s, streams {table.rate('streams')(one):,.0f}/s"
            said = "did not run" if one.fault else said
            print(f"round {number}  {name:14} {said}  {one.first_error}".rstrip(), flush=True)


def tell(found: dict[str, list[Round]]) -> None:
    """Prints the table and keeps every figure of every round in `RESULTS`."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({name: [asdict(one) for one in rounds] for name, rounds in found.items()}, indent=1))
    print(f"\n{table.markdown(found, SYSTEMS)}\n\n{table.noise(found)}")
    print("\n".join(["", *table.by_process(found), *table.compared(found)]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
