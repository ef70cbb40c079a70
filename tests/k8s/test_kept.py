"""The manifests that are kept for machines without a kubectl: of the files that are here, and what they build to."""

from __future__ import annotations

from pathlib import Path

from tests.k8s.built import each_overlay, needs_kubectl
from tools.k8s_build import KEPT, KUBECTL_MIN, build, documents, kept, names, sources_hash

ANEW = f"run `make k8s` (kubectl {KUBECTL_MIN} or later), and commit tests/fixtures/k8s"


@each_overlay
def test_they_were_built_from_the_files_that_are_here(overlay: str) -> None:
    assert kept(overlay)[0] == sources_hash(), f"k8s/ has changed: {ANEW}"


@needs_kubectl
@each_overlay
def test_they_are_what_kubectl_builds(overlay: str) -> None:
    assert documents(kept(overlay)[1]) == documents(build(overlay)), ANEW


def test_none_is_kept_of_an_overlay_that_is_gone() -> None:
    assert {file.name for file in KEPT.iterdir()} == {f"{name}.yaml.gz" for name in names()}


def test_the_hash_tells_of_content_and_of_names(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_text("one")
    first = sources_hash(tmp_path)
    (tmp_path / "deep" / "a").write_text("two")
    second = sources_hash(tmp_path)
    (tmp_path / "deep" / "a").rename(tmp_path / "a")
    assert len({first, second, sources_hash(tmp_path)}) == 3
