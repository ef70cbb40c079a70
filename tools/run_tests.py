"""`make test`: every test that needs no special machine, in three passes.

First all that can share the machine, on one worker more than there are cores, since tests wait as long as they compute;
what fails there is asked once more, alone (docs/decisions/0015). Then what kills processes (marker `chaos`), whose
failures stand: two at a time what has said that a neighbour changes nothing (marker `paired`), and the rest alone. The
environment that reaches them holds no provider's key: nobody's money is spent by a test.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.test_outcomes import FILE_VARIABLE, Outcomes, read_outcomes

PROVIDER_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OLLAMA_HOST")
WORKERS = max(2, os.cpu_count() or 2) + 1
#: More failures than so many are no accident of a busy machine: nothing is asked again.
AGAIN_MAX = 3
#: Memory that the tests' files may take: clusters of PostgreSQL, some 60 MB each with what was written, and Redis's.
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_FOLDER_FREE_MIN_BYTES = 6 * 2**30

#: Two, for most of what such a test takes is waiting: for a part to come back, for a lease to run out.
PAIRED_WORKERS = 2
#: `-rA`: with what they counted: posts accepted, lost, twice, seen unmoderated.
PAIRED = ("-n", str(PAIRED_WORKERS), "-p", "tools.test_scheduling", "-m", "chaos and paired", "-rA")
ALONE = ("-m", "chaos and not paired", "-s")
#: Compiled before the tests, who start processes of it hundreds of times.
SOURCES = ("services", "gateway", "gen", "clients/python", "tools", "bench", "tests")
NO_BYTECODE_VARIABLE = "PYTHONDONTWRITEBYTECODE"

NO_TESTS = 5  # pytest's own: nothing was collected
FAILED = 1  # pytest's own: tests ran, some failed


def main() -> int:
    arguments = sys.argv[1:]
    for source in SOURCES:
        compileall.compile_dir(source, quiet=2)
    with temporary_folder() as folder:
        environment = environment_in(folder, os.environ)
        codes = [run_shared(arguments, folder, environment)]
        # Collecting all tests takes half a minute; a selection is pytest's to make.
        chosen = arguments or chaos_files(Path("tests"))
        codes += [run_pytest([*options, *chosen], environment) for options in (PAIRED, ALONE)]
    return worst(*codes)


def chaos_files(folder: Path) -> list[str]:
    """The files below that have a test of chaos: the marker stands in the file of its tests, and nowhere else."""
    return sorted(str(file) for file in folder.rglob("test_*.py") if "mark.chaos" in file.read_text(encoding="utf-8"))


def worst(*codes: int) -> int:
    """Of the passes' exit codes; a selection may leave one of them without tests, but not all."""
    return max((code for code in codes if code != NO_TESTS), default=NO_TESTS)


def environment_in(folder: Path, outside: Mapping[str, str]) -> dict[str, str]:
    """What tests get of the environment; their temporary files are made in `folder`.

    Bytecode is written: else each process compiles all that it imports, which takes longer than to run it.
    """
    kept = {
        name: value
        for name, value in outside.items()
        if name not in (*PROVIDER_VARIABLES, NO_BYTECODE_VARIABLE) and not name.startswith("PROMPTMESH_")
    }
    return kept | {"TMPDIR": str(folder)}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Where the tests write; removed afterwards. In memory where there is plenty.

    The tests start dozens of databases and make hundreds more in them. On a disk that others use too, that alone took
    minutes, and the waits that came of it failed tests. Nothing here asks whether the machine's crash is survived.
    """
    place = MEMORY_FOLDER if is_roomy(MEMORY_FOLDER) else None
    folder = Path(tempfile.mkdtemp(prefix="promptmesh-tests-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_roomy(folder: Path) -> bool:
    """Whether programs can be written to this folder and started there, and it has room for all tests' files."""
    try:
        said = os.statvfs(folder)
    except OSError:
        return False
    return (
        os.access(folder, os.W_OK | os.X_OK)
        and not said.f_flag & os.ST_NOEXEC
        and min(said.f_bavail * said.f_frsize, free_memory_bytes()) >= MEMORY_FOLDER_FREE_MIN_BYTES
    )


def free_memory_bytes() -> int:
    """What programs can still take of the machine's memory, or of what our container may use of it; 0: unknown."""
    found = []
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    try:
        most, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        if most != "max":
            found.append(int(most) - int(used))
    except OSError:
        pass  # no container, or an older kernel's
    return min(found, default=0)


def run_shared(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """The first pass, and once more alone what failed in it. Returns the exit code."""
    spread = ["-n", str(WORKERS), "-p", "tools.test_scheduling", "--no-loadscope-reorder", "-m", "not chaos"]
    code, first = run_recorded([*spread, *arguments], folder / "first.json", environment)
    if code != FAILED or first.others or not 0 < len(first.failed) <= AGAIN_MAX:
        return code
    print(f"\n{len(first.failed)} failed while the machine was shared; asked once more, alone:", flush=True)
    code, again = run_recorded(list(first.failed), folder / "again.json", environment)
    if code != 0 or not set(first.failed) <= set(again.passed):  # one that was skipped proves nothing
        return FAILED
    print(told(first), flush=True)
    return 0


def run_recorded(arguments: Sequence[str], file: Path, environment: Mapping[str, str]) -> tuple[int, Outcomes]:
    """pytest's exit code, and what became of each test."""
    recording = {FILE_VARIABLE: str(file)}
    code = run_pytest(["-p", "tools.test_outcomes", *arguments], {**environment, **recording})
    return code, read_outcomes(file) if file.exists() else Outcomes()


def told(first: Outcomes) -> str:
    """What nobody may overlook though the run is green."""
    bar = "!" * 100
    lines = [bar, "FAILED UNDER LOAD, PASSED ALONE (docs/decisions/0015): mend these tests", bar]
    for test, said in first.failed.items():
        lines += [test, said, "-" * 100]
    return "\n".join(["", *lines, bar])


def run_pytest(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit code of pytest, whose output is ours."""
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], env=dict(environment), check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
