"""Tables, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.endurance.peak import failures
from bench.endurance.sampling import POSTGRES
from bench.endurance.slopes import MIB, count_verdict, memory_verdict
from bench.endurance.traffic import CHOSEN, Result
from bench.harness import percentile, row

PROVIDER, LOAD = "(provider)", "(load)"
BESIDE = (PROVIDER, LOAD)
#: PostgreSQL's backends share buffers, which fill up to `shared_buffers` and stay: its anonymous memory is judged.
#: Provider and load are not of the mesh; they are told, and not judged.
_JUDGED_BY = {POSTGRES: "anonymous"}
SERIES_LIMIT = (
    50  # of Prometheus, between the first and the last third: labels that callers choose would make thousands
)
STREAM_ENTRIES_MAX = 100_000  # of a partition (services/mesh/events/relay.py)

Sample = dict[str, Any]


def load_table(result: Result, minutes: float) -> list[str]:
    """Prints what became of the load; returns what is wrong with it."""
    print(f"\n{'load':30}{'begun':>10}{'failed':>8}{'p50':>10}{'p99':>10}")
    for name, told in result.acts.items():
        chosen = name in CHOSEN
        times = ["-" if chosen else f"{percentile(told.times_s, share) * 1e3:.0f} ms" for share in (0.5, 0.99)]
        print(f"{name:30}{told.begun:>10,}{told.begun - told.well:>8}{times[0]:>10}{times[1]:>10}")
    print(f"most under way at once: {result.under_way_max}; over {minutes:.1f} minutes")
    for line in failures(result):
        print(f"  failed: {line}")
    return [f"{result.failed} acts of the load failed"] if result.failed else []


def process_table(samples: Sequence[Sample]) -> list[str]:
    """Prints each process; returns those that grow. samples: after the warm-up."""
    times = [one["time_s"] for one in samples]
    wrong = []
    head = f"{'process':14}{'MiB first':>10}{'last':>8}{'most':>8}{'MiB/h':>8}{'95 %':>16}{'2nd half':>9}{'limit':>7}"
    print(f"\n{head}  {'descriptors':>14}  {'connections':>14}  {'threads':>12}")
    for name in sorted(samples[0]["processes"]):
        of_process = [one["processes"][name] for one in samples]
        memory = memory_verdict(times, [one[_JUDGED_BY.get(name, "pss")] for one in of_process])
        counts = {what: count_verdict([one[what] for one in of_process]) for what in ("fds", "connections", "threads")}
        grown = (["memory"] if memory.grows else []) + [what for what, one in counts.items() if one.grows]
        if grown and name not in BESIDE:
            wrong.append(f"{name} grows: {', '.join(grown)}")
        slope = memory.slope
        print(
            f"{name:14}{memory.first:>10.1f}{memory.last:>8.1f}{memory.most:>8.1f}{slope.per_hour:>+8.1f}"
            f"{f'{slope.low:+.1f}…{slope.high:+.1f}':>16}{memory.later.per_hour:>+9.1f}{memory.limit:>7.1f}"
            + "".join(f"  {f'{one.first:.0f} {one.last:.0f} ≤{one.most:.0f}':>14}" for one in counts.values())
            + f"  {'GROWS' if grown else 'flat'}"
        )
    print("PSS; of PostgreSQL its anonymous part alone, since its shared buffers have a bound of their own.")
    print("Descriptors, connections, threads: median of the first third, of the last, and the most.")
    _others_row(samples)
    return wrong


def _others_row(samples: Sequence[Sample]) -> None:
    """How much of the machine was not ours: with much, failures and slow answers say little about the mesh."""
    first, last = samples[0], samples[-1]
    seconds = last["time_s"] - first["time_s"] or 1
    ours_s = sum(
        (taken["cpu_ms"] - first["processes"][name]["cpu_ms"]) / 1000 for name, taken in last["processes"].items()
    )
    busy_s = last["busy_cpu_s"] - first["busy_cpu_s"]
    loads = [one["load"] for one in samples]
    note = f"others {max(0.0, busy_s - ours_s) / seconds:.2f}; load average {min(loads):.0f} to {max(loads):.0f}"
    row("cores that mesh, provider and load took", f"{ours_s / seconds:.2f}", note)


def store_table(samples: Sequence[Sample]) -> list[str]:
    """Prints what is stored, which grows as it should, with its bound; returns what is over its bound."""
    wrong = []
    print()
    first, last = samples[0], samples[-1]
    for name, store in last["stores"].items():
        most = max(one["stores"][name]["used_bytes"] for one in samples)
        bound = store["max_bytes"]
        note = f"from {first['stores'][name]['used_bytes'] / MIB:.1f}, most {most / MIB:.1f}, bound {bound / MIB:.0f}"
        row(f"{name}: used", f"{store['used_bytes'] / MIB:.1f} MiB", note)
        row(f"{name}: keys", f"{store['keys']:,}", f"from {first['stores'][name]['keys']:,}")
        if bound and most > 0.9 * bound and name == "redis-state":
            wrong.append(f"{name} is nearly full")
    entries = [sum(one["stores"]["redis-state"]["streams"].values()) for one in samples]
    longest = max((max(one["stores"]["redis-state"]["streams"].values(), default=0)) for one in samples)
    trimmed = count_verdict(entries)
    note = f"all streams; first third {trimmed.first:,.0f}, last {trimmed.last:,.0f}; longest {longest:,}"
    row("entries in streams, most", f"{trimmed.most:,.0f}", f"{note}, bound {STREAM_ENTRIES_MAX:,} each")
    if longest > STREAM_ENTRIES_MAX:
        wrong.append("a stream is over its bound")
    _rows("journals of calls", samples, lambda one: one["journal_bytes"])
    for table in last["tables"]:
        if table in first["tables"]:
            _rows(f"  {table}", samples, lambda one, table=table: one["tables"].get(table, 0))  # type: ignore[misc]
    for name, series in last["series"].items():
        counted = count_verdict([one["series"].get(name, 0) for one in samples])
        row(f"series of {name}", f"{series:,}", f"first third {counted.first:,.0f}, last {counted.last:,.0f}")
        if counted.last - counted.first > SERIES_LIMIT:
            wrong.append(f"{name} tells Prometheus more and more series")
    return wrong


def _rows(name: str, samples: Sequence[Sample], of: Callable[[Sample], float]) -> None:
    values = [of(one) for one in samples]
    hours = (samples[-1]["time_s"] - samples[0]["time_s"]) / 3600 or 1
    per_hour = (values[-1] - values[0]) / MIB / hours
    row(
        name[:43],
        f"{values[-1] / MIB:.1f} MiB",
        f"from {values[0] / MIB:.1f}, most {max(values) / MIB:.1f}, {per_hour:+,.0f} MiB/h",
    )
