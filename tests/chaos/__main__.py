"""`make chaos`: everything breaks for ten minutes, by a schedule made of a seed.

python -m tests.chaos [--seed N] [--minutes M] [--only KIND …] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from pathlib import Path

from tests.chaos.report import command, write_report
from tests.chaos.run import run_chaos
from tests.chaos.schedule import KINDS

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 10.0
SEED_BITS = 31


def main() -> int:
    """Exit status: 0 if the oracle holds and all became whole again, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of a run before, to replay it (default: a random one, printed)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long things are struck (default: 10)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of faults")
    parser.add_argument("--target", default="", help="only targets that hold this text, as edge or >postgres")
    parser.add_argument("--plan", action="store_true", help="print the schedule, and strike nothing")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reliability.md")
    given = parser.parse_args()
    seed = secrets.randbits(SEED_BITS) if given.seed is None else given.seed
    run = asyncio.run(
        run_chaos(
            seed,
            given.minutes * 60,
            ROOT / "out" / "chaos" / str(seed),
            only=given.only,
            target=given.target,
            plan=given.plan,
        )
    )
    if run is None:
        return 0
    again = command(seed, given.minutes, given.only, given.target)
    text = write_report(run, seed, given.minutes, again, ROOT / "docs" / "reliability.md" if given.write else None)
    print(text)
    if run.wrongs:
        print("\nWRONG:\n" + "\n".join(f"  {one}" for one in run.wrongs))
        print(f"\nReplay it with:\n  {again}\nLogs, schedule, and what was struck and acknowledged: out/chaos/{seed}/")
        return 1
    print(f"\nnothing wrong; {again}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
