"""What a release changes, and when there is none."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from tools.release import CHANGELOG, PLACES, ReleaseError, current, follows, prepared, released, renamed

ROOT = Path(__file__).parents[3]
DAY = datetime.date(2026, 11, 22)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that a release changes, as they are."""
    for name in {CHANGELOG, *(name for name, _ in PLACES)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_every_place_says_the_same_version_and_the_next_one_afterwards(tree: Path) -> None:
    major, minor, _ = current(tree).split(".")
    texts = prepared(tree, new := f"{major}.{int(minor) + 1}.0", DAY)
    for name, text in texts.items():
        (tree / name).write_text(text)
    assert current(tree) == new
    renamed(tree, new, "9.9.9")  # every place says it
    assert f"## Unreleased\n\n## {new} · 2026-11-22\n" in (tree / CHANGELOG).read_text()


def test_a_place_that_says_something_else_is_named(tree: Path) -> None:
    name = "clients/typescript/package.json"
    (tree / name).write_text((tree / name).read_text().replace(f'"version": "{current(tree)}"', '"version": "9.9.9"'))
    with pytest.raises(ReleaseError, match=r"clients/typescript/package\.json does not say once"):
        prepared(tree, "0.2.0", DAY)


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
