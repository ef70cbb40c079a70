"""A plugin of pytest: writes what became of each test as JSON, into the file that PROMPTMESH_OUTCOMES names.

`pytest -p tools.test_outcomes`. It also says which folders and files of tests took how long, added up over the workers.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import pytest

FILE_VARIABLE = "PROMPTMESH_OUTCOMES"
SLOW_FILES = 20  # so many lines tell where the time went
#: A failure in these phases is the test's own. What fails in a teardown was done by all tests that shared a fixture
#: (the check of a mesh's logs), and a worker that died has no phase: asking one test again would say nothing of them.
_OWN_PHASES = ("setup", "call")


@dataclass
class Outcomes:
    """Of one run. failed: test → what it said, for tests that may be asked again; others: failures that stand."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def read_outcomes(file: Path) -> Outcomes:
    """What a run wrote. Raises OSError where it wrote nothing."""
    said: Mapping[str, object] = json.loads(file.read_text())
    return Outcomes(**said)  # type: ignore[arg-type] # as `asdict` made it


class Recorder:
    """Collects the reports of all workers, where pytest runs; workers themselves write nothing."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._outcomes = Outcomes()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.split("::")[0]] += report.duration
        if report.failed:
            # A long run tells at once; what it said comes at the end.
            print(f"\nFAILED in {report.when}: {report.nodeid}", flush=True)
        if report.failed and report.when in _OWN_PHASES:
            self._outcomes.failed[report.nodeid] = report.longreprtext
        elif report.failed:
            self._outcomes.others.append(report.nodeid)
        elif report.passed and report.when == "call":
            self._outcomes.passed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._outcomes.others.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(asdict(self._outcomes)))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: defaultdict[str, float] = defaultdict(float)
        for file, seconds in self._seconds.items():
            folders[str(PurePosixPath(file).parent)] += seconds
        for title, places in (("seconds by folder", folders), (f"the {SLOW_FILES} slowest files", self._seconds)):
            terminalreporter.section(title)
            for place, seconds in sorted(places.items(), key=lambda one: -one[1])[:SLOW_FILES]:
                terminalreporter.write_line(f"{seconds:8.0f}  {place}")


def pytest_configure(config: pytest.Config) -> None:
    """Only in the process that people started, and only if it is told where to write."""
    file = os.environ.get(FILE_VARIABLE)
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(file)), "promptmesh-outcomes")
