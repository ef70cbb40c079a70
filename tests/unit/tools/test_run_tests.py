"""What failed on a busy machine is asked once more, alone: and what may never be excused by that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import run_tests
from tools.run_tests import (
    AGAIN_MAX,
    ALONE,
    NO_TESTS,
    PAIRED,
    chaos_files,
    environment_in,
    is_roomy,
    run_shared,
    temporary_folder,
    worst,
)
from tools.test_outcomes import Outcomes, Recorder, read_outcomes

ROOT = Path(__file__).parents[3]
OTHER_CODE = 4  # pytest's own: wrong usage


class Runs:
    """Takes the place of pytest: what each run answers, and what it was asked."""

    def __init__(self, *answers: tuple[int, Outcomes]) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], file: Path, environment: Mapping[str, str]) -> tuple[int, Outcomes]:
        self.asked.append(list(arguments))
        return self._answers.pop(0)


def failing(count: int) -> dict[str, str]:
    return {f"tests/test_{number}.py::test_it[a::b]": f"what {number} said" for number in range(count)}


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the first pass with these answers; gives its exit code and what was asked."""

    def run(*answers: tuple[int, Outcomes]) -> tuple[int, list[list[str]]]:
        runs = Runs(*answers)
        monkeypatch.setattr(run_tests, "run_recorded", runs)
        return run_shared(["-k", "some"], tmp_path, {}), runs.asked

    return run


@pytest.mark.parametrize("count", [1, AGAIN_MAX])
def test_what_passes_alone_is_green_and_told(shared: Any, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    failed = failing(count)

    code, asked = shared((1, Outcomes(failed=failed)), (0, Outcomes(passed=list(failed))))

    assert code == 0
    assert asked[0][:2] == ["-n", str(run_tests.WORKERS)]
    assert asked[1] == list(failed), "alone, and nothing else"
    said = capsys.readouterr().out
    assert "FAILED UNDER LOAD, PASSED ALONE" in said
    assert all(test in said and text in said for test, text in failed.items())


@pytest.mark.parametrize(
    ("code", "outcomes"),
    [
        (0, Outcomes()),
        (1, Outcomes(failed=failing(AGAIN_MAX + 1))),
        (1, Outcomes(failed=failing(1), others=["tests/test_logs.py::test_teardown"])),
        (1, Outcomes(others=["tests/test_logs.py"])),
        (1, Outcomes()),
        (2, Outcomes(failed=failing(1))),
        (OTHER_CODE, Outcomes()),
    ],
    ids=["none", "too many", "and a teardown", "a teardown", "unknown", "interrupted", "usage"],
)
def test_nothing_else_is_asked_again(shared: Any, code: int, outcomes: Outcomes) -> None:
    assert shared((code, outcomes)) == (code, [["-n", str(run_tests.WORKERS), *shared_options()]])


def shared_options() -> list[str]:
    return ["-p", "tools.test_scheduling", "--no-loadscope-reorder", "-m", "not chaos", "-k", "some"]


@pytest.mark.parametrize(
    ("code", "again"),
    [(1, Outcomes(failed=failing(1))), (0, Outcomes()), (5, Outcomes()), (0, Outcomes(passed=list(failing(1))))],
    ids=["fails again", "skipped", "not found", "one of two"],
)
def test_what_does_not_pass_alone_is_red(
    shared: Any, code: int, again: Outcomes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shared((1, Outcomes(failed=failing(2))), (code, again))[0] == 1
    assert "PASSED ALONE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("codes", "code"),
    [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((0, NO_TESTS), 0), ((NO_TESTS, 1), 1), ((NO_TESTS, NO_TESTS), NO_TESTS)],
)
def test_the_worst_pass_is_the_runs_result(codes: tuple[int, int], code: int) -> None:
    assert worst(*codes) == code


def test_failures_are_recorded_by_what_they_say_of_a_test(tmp_path: Path) -> None:
    recorder: Any = Recorder(tmp_path / "outcomes.json")
    for test, when, outcome in (
        ("a.py::passes", "setup", "passed"),
        ("a.py::passes", "call", "passed"),
        ("a.py::fails", "call", "failed"),
        ("a.py::no_setup", "setup", "failed"),
        ("a.py::skips", "setup", "skipped"),
        ("a.py::leaves_a_log", "call", "passed"),
        ("a.py::leaves_a_log", "teardown", "failed"),
        ("a.py::its_worker_died", "???", "failed"),
    ):
        flags = {name: outcome == name for name in ("passed", "failed", "skipped")}
        report = SimpleNamespace(nodeid=test, when=when, duration=1.0, longreprtext=f"{test} said", **flags)
        recorder.pytest_runtest_logreport(report)
    recorder.pytest_collectreport(SimpleNamespace(nodeid="b.py", failed=True))
    recorder.pytest_sessionfinish()

    assert read_outcomes(tmp_path / "outcomes.json") == Outcomes(
        passed=["a.py::passes", "a.py::leaves_a_log"],
        failed={"a.py::fails": "a.py::fails said", "a.py::no_setup": "a.py::no_setup said"},
        others=["a.py::leaves_a_log", "a.py::its_worker_died", "b.py"],
    )
    assert json.loads((tmp_path / "outcomes.json").read_text()).keys() == {"passed", "failed", "others"}


def test_the_environment_of_tests_holds_no_key_and_their_folder(tmp_path: Path) -> None:
    outside = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENAI_API_KEY": "sk",
        "PROMPTMESH_X": "1",
        "PATH": "/bin",
        "TMPDIR": "/elsewhere",
    }

    assert environment_in(tmp_path, outside) == {"PATH": "/bin", "TMPDIR": str(tmp_path)}


@pytest.mark.parametrize(("free_bytes", "roomy"), [(2**60, True), (2**20, False)])
def test_files_are_in_memory_only_where_there_is_plenty(
    free_bytes: int, roomy: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_tests, "free_memory_bytes", lambda: free_bytes)
    monkeypatch.setattr(run_tests, "MEMORY_FOLDER_FREE_MIN_BYTES", 2**21)

    assert is_roomy(tmp_path) is roomy
    assert not is_roomy(tmp_path / "nowhere")


def test_what_tests_wrote_is_gone_afterwards() -> None:
    with temporary_folder() as folder:
        (folder / "left").write_text("x")

    assert not folder.exists()


def test_files_of_chaos_are_found_by_their_marker(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, text in (
        ("test_all.py", "pytestmark = [pytest.mark.chaos]"),
        ("deep/test_one.py", "@pytest.mark.chaos\n"),
        ("test_none.py", "# chaos"),
        ("helper.py", "mark.chaos"),
    ):
        (tmp_path / name).write_text(text)

    assert chaos_files(tmp_path) == [str(tmp_path / "deep/test_one.py"), str(tmp_path / "test_all.py")]


def test_no_marker_of_chaos_is_given_from_elsewhere() -> None:
    """A test whose file does not say it would be run by no pass."""
    others = [file for file in (ROOT / "tests").rglob("*.py") if not file.name.startswith("test_")]
    assert not [file for file in others if "mark.chaos" in file.read_text()]
    paired = [file for file in (ROOT / "tests").rglob("test_*.py") if "mark.paired" in file.read_text()]
    assert paired
    assert {str(file) for file in paired} <= set(chaos_files(ROOT / "tests"))


def test_the_passes_take_every_test_once(shared: Any) -> None:
    (_, (asked, *_)) = shared((0, Outcomes()))
    chosen = [options[options.index("-m") + 1] for options in (asked, PAIRED, ALONE)]
    assert chosen == ["not chaos", "chaos and paired", "chaos and not paired"]


def test_every_pass_is_run_and_a_selection_reaches_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        asked.append(list(arguments))
        return 0 if len(asked) < 3 else 1

    monkeypatch.setattr(run_tests, "run_pytest", run)
    monkeypatch.setattr(run_tests.compileall, "compile_dir", lambda *_, **__: True)
    monkeypatch.setattr(run_tests.sys, "argv", ["run_tests", "-k", "some"])

    assert run_tests.main() == 1, "the last pass counts as the first does"
    assert asked[1:] == [[*PAIRED, "-k", "some"], [*ALONE, "-k", "some"]]
