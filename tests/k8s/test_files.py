"""The files below k8s/: none that nobody uses, and none that says something twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).resolve().parents[2] / "k8s"


class _OnlyOnce(yaml.SafeLoader):
    """Refuses a mapping in which a key stands twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice"
        return super().construct_mapping(node, deep)


def kustomizations() -> dict[Path, dict[str, Any]]:
    return {file.parent: yaml.safe_load(file.read_text()) for file in sorted(K8S.rglob("kustomization.yaml"))}


def test_no_key_stands_twice() -> None:
    for file in K8S.rglob("*.yaml"):
        for _ in yaml.load_all(file.read_text(), Loader=_OnlyOnce):
            pass


def test_every_file_is_used() -> None:
    used: set[Path] = set()
    for folder, spec in kustomizations().items():
        used.add(folder / "kustomization.yaml")
        used |= {folder / name for name in spec.get("resources", []) if name.endswith(".yaml")}
        used |= {folder / one["path"] for one in spec.get("patches", []) if "path" in one}
        for generator in spec.get("configMapGenerator", []):
            used |= {folder / name for key in ("envs", "files") for name in generator.get(key, [])}
    assert {file for file in K8S.rglob("*") if file.is_file()} == used


def test_every_component_is_in_an_overlay() -> None:
    wanted = {
        (folder / name).resolve()
        for folder, spec in kustomizations().items()
        for name in (*spec.get("components", []), *spec.get("resources", []))
    }
    components = {folder for folder, spec in kustomizations().items() if spec["kind"] == "Component"}
    assert components
    assert components <= wanted
