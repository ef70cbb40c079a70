"""What a release changes, and when there is none."""

from __future__ import annotations

import datetime
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import k8s_build, release
from tools.release import (
    CHANGELOG,
    FIXTURES,
    PLACES,
    ReleaseError,
    check_contracts,
    current,
    follows,
    prepared,
    released,
    renamed,
)
from tools.release_fixtures import IMAGE, compressed, keep_contracts

ROOT = Path(__file__).parents[3]
DAY = datetime.date(2026, 11, 22)
BUF_CONFIG = "version: v2\nmodules:\n  - path: protos\nbreaking:\n  use:\n    - FILE\n"
CONTRACT = 'syntax = "proto3";\npackage a.v1;\nmessage Ask {\n  string id = 1;\n}\n'
KEEPS = """
import pathlib, sys
pathlib.Path("kept").write_text(sys.argv[1] + " " + pathlib.Path("pyproject.toml").read_text())
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that a release changes, as they are."""
    for name in {CHANGELOG, *(name for name, _ in PLACES)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / CHANGELOG  # in which nothing is new right after a release
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", "## Unreleased\n\n- Something.\n", 1))
    return tmp_path


@pytest.fixture
def next_one(tree: Path) -> str:
    """The next minor version."""
    major, minor, _ = current(tree).split(".")
    return f"{major}.{int(minor) + 1}.0"


@pytest.fixture
def repository(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree, committed, as the one that `main` releases; the step after writing keeps what it was called with."""
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")
    git(tree, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "All")
    monkeypatch.setattr(release, "ROOT", tree)
    monkeypatch.setattr(release, "STEPS", (("Keeping", ("-c", KEEPS)),))
    monkeypatch.setattr(release, "check_kubectl", lambda: None)
    return tree


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def run_main(monkeypatch: pytest.MonkeyPatch, version: str) -> int:
    monkeypatch.setattr(sys, "argv", ["release", version])
    return release.main()


def test_every_place_says_the_same_version_and_the_next_one_afterwards(tree: Path, next_one: str) -> None:
    texts = prepared(tree, new := next_one, DAY)
    for name, text in texts.items():
        (tree / name).write_text(text)
    assert current(tree) == new
    renamed(tree, new, "9.9.9")  # every place says it
    assert f"## Unreleased\n\n## {new} · 2026-11-22\n\n- Something.\n" in (tree / CHANGELOG).read_text()


def test_a_place_that_says_something_else_is_named(tree: Path, next_one: str) -> None:
    name = "clients/typescript/package.json"
    (tree / name).write_text((tree / name).read_text().replace(f'"version": "{current(tree)}"', '"version": "9.9.9"'))
    with pytest.raises(ReleaseError, match=r"clients/typescript/package\.json does not say once"):
        prepared(tree, next_one, DAY)


@pytest.mark.parametrize(
    ("old", "new", "does"),
    [
        ("0.1.0", "0.1.1", True),
        ("0.1.9", "0.2.0", True),
        ("1.4.2", "2.0.0", True),
        ("0.1.0", "0.1.0", False),
        ("0.1.0", "0.1.2", False),
        ("0.1.3", "0.2.1", False),
        ("0.2.0", "0.1.9", False),
        ("0.1.0", "v0.1.1", False),
        ("0.1.0", "0.01.1", False),
        ("0.1.0", "0.1.1\n", False),
        ("0.1.0", "", False),
    ],
)
def test_versions_follow_each_other(old: str, new: str, does: bool) -> None:
    assert follows(old, new) is does


def test_an_empty_changelog_is_no_release() -> None:
    with pytest.raises(ReleaseError, match="says nothing beneath"):
        released("# Changelog\n\n## Unreleased\n\n## 0.1.0 · 2026-11-21\n\nThe first.\n", "0.2.0", DAY)
    with pytest.raises(ReleaseError, match="no line `## Unreleased`"):
        released("# Changelog\n\n## 0.1.0 · 2026-11-21\n\nThe first.\n", "0.2.0", DAY)


def test_a_release_is_written_and_then_kept(
    repository: Path, next_one: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, next_one) == 0
    name, _, pyproject = (repository / "kept").read_text().partition(" ")
    assert name == f"v{next_one}"
    assert f'version = "{next_one}"' in pyproject  # what is kept is of the new version
    changed = {line[3:] for line in git(repository, "status", "--porcelain").splitlines()}
    assert changed == {CHANGELOG, "kept", *(name for name, _ in PLACES)}
    assert f"git tag -a v{next_one}" in capsys.readouterr().out


@pytest.mark.parametrize("why", ["uncommitted", "version", "changelog", "contracts", "kubectl"])
def test_what_is_refused_changes_nothing(
    why: str, repository: Path, next_one: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Path) -> None:
        raise ReleaseError(f"because of {why}")

    said = f"because of {why}"
    if why == "uncommitted":
        (repository / "notes").touch()
        said = "work is not committed:\n?? notes"
    elif why == "version":
        next_one, said = current(repository), "does not follow"
    elif why == "changelog":
        (repository / CHANGELOG).write_text("# Changelog\n\n## Unreleased\n")
        git(repository, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-am", "Empty")
        said = "says nothing beneath"
    else:
        monkeypatch.setattr(release, f"check_{why}", refuse)
    before = git(repository, "status", "--porcelain")
    assert run_main(monkeypatch, next_one) == 1
    assert said in capsys.readouterr().err
    assert git(repository, "status", "--porcelain") == before


def test_a_step_that_fails_says_how_to_go_back(
    repository: Path, next_one: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "STEPS", (("Failing", ("-c", "raise SystemExit(3)")), *release.STEPS))
    assert run_main(monkeypatch, next_one) == 1
    assert f"git restore . && git clean -fd {FIXTURES}" in capsys.readouterr().err
    assert not (repository / "kept").exists()


def test_a_machine_without_kubectl_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_build, "kubectl", lambda: None)
    with pytest.raises(ReleaseError, match="no kubectl"):
        release.check_kubectl()
    monkeypatch.setattr(k8s_build, "kubectl", lambda: "kubectl")
    release.check_kubectl()


def test_contracts_that_break_a_caller_of_any_release_are_named(tmp_path: Path) -> None:
    contract = tmp_path / "protos" / "a" / "v1" / "a.proto"
    contract.parent.mkdir(parents=True)
    contract.write_text(CONTRACT)
    (tmp_path / "buf.yaml").write_text(BUF_CONFIG)
    for name in ("v1.0.0", "v1.1.0"):
        (tmp_path / FIXTURES / name).mkdir(parents=True)
        keep_contracts(tmp_path, tmp_path / FIXTURES / name / IMAGE)
        contract.write_text(
            contract.read_text().replace("}", f"  string of_{name[1:4].replace('.', '_')} = {name[3]}2;\n}}")
        )
    check_contracts(tmp_path)  # what is added breaks nobody
    contract.write_text(CONTRACT)
    with pytest.raises(ReleaseError, match=r"a caller of v1\.1\.0 would break:\n.*of_1_0"):
        check_contracts(tmp_path)
    contract.write_text(CONTRACT.replace("string id", "bytes id"))
    with pytest.raises(ReleaseError, match=r"a caller of v1\.0\.0 would break"):
        check_contracts(tmp_path)


def test_a_dump_is_kept_as_the_same_bytes() -> None:
    assert compressed("SELECT 'ä';") == compressed("SELECT 'ä';")
    assert gzip.decompress(compressed("SELECT 'ä';")).decode() == "SELECT 'ä';"
    assert compressed("")[4:8] == bytes(4)  # no time
