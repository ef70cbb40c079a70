"""`make release VERSION=0.2.0`: turns what is on main into a release, up to the commit and the tag, which people make.

Every place that names the version, the changelog's `Unreleased`, what is made from these (gen/, the manifests that are
kept), the contracts, code and database that later ones are held against (tools/release_fixtures.py). Refused, with
nothing changed: work that is not committed, a version that does not follow the last one, a changelog without a word,
contracts that would break a caller, a machine without kubectl. The policy: docs/releases.md.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

from tools import k8s_build

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = "CHANGELOG.md"
FIXTURES = "tests/fixtures"
UNRELEASED = "## Unreleased\n"
VERSION_PATTERN = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
#: Where the version stands: file, and what stands around it, once.
PLACES: tuple[tuple[str, str], ...] = (
    ("pyproject.toml", '\nversion = "{}"\n'),
    ("clients/python/pyproject.toml", '\nversion = "{}"\n'),
    ("clients/typescript/package.json", '\n  "version": "{}",\n'),
    ("clients/typescript/package-lock.json", '\n  "version": "{}",\n'),
    ("clients/typescript/package-lock.json", '\n      "name": "@promptmesh/client",\n      "version": "{}",\n'),
    ("clients/typescript/README.md", ".build/promptmesh-client-{}.tgz\n"),
    ("gateway/web/package.json", '\n  "version": "{}",\n'),
    ("gateway/web/package-lock.json", '\n  "version": "{}",\n'),
    ("gateway/web/package-lock.json", '\n      "name": "@promptmesh/web",\n      "version": "{}",\n'),
    ("gateway/web/package-lock.json", '\n      "name": "@promptmesh/client",\n      "version": "{}",\n'),
    ("docs/kubernetes.md", "docker://registry.example.com/promptmesh:{}\n"),
    ("k8s/overlays/local/kustomization.yaml", "- name: promptmesh\n  newTag: {}\n"),
    ("k8s/overlays/local/kustomization.yaml", "- name: promptmesh-edge\n  newTag: {}\n"),
    ("k8s/overlays/production/kustomization.yaml", "/promptmesh\n  newTag: {}\n"),
    ("k8s/overlays/production/kustomization.yaml", "/promptmesh-edge\n  newTag: {}\n"),
)
#: What is made once the version is written, in order: by programs of its own, as gen/ changes below whoever read it.
#: The last is called with the name of the release.
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The stubs and the OpenAPI document, which name the version", ("tools/generate.py",)),
    ("The manifests that are kept, with the images' new tags", ("-m", "tools.k8s_build")),
    ("The release's contracts, code and a database of it, for later releases", ("-m", "tools.release_fixtures")),
)


class ReleaseError(Exception):
    """Why there is no release, and what to do."""


def current(root: Path = ROOT) -> str:
    """The version that pyproject.toml names."""
    found = re.search(r'^version = "([^"]+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert found, "pyproject.toml names no version"
    return found[1]


def renamed(root: Path, old: str, new: str) -> dict[str, str]:
    """Each file of `PLACES` with the new version in it; ReleaseError where a file does not say the old one."""
    texts: dict[str, str] = {}
    for name, around in PLACES:
        text = texts.get(name) or (root / name).read_text()
        if text.count(around.format(old)) != 1:
            raise ReleaseError(f"{name} does not say once that this is {old} (`{around.strip()}`); mend it first.")
        texts[name] = text.replace(around.format(old), around.format(new))
    return texts


def follows(old: str, new: str) -> bool:
    """Whether a version is the next patch, minor or major one."""
    if not VERSION_PATTERN.fullmatch(new):
        return False
    major, minor, patch = (int(part) for part in old.split("."))
    return new in {f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0", f"{major + 1}.0.0"}


def released(changelog: str, version: str, day: datetime.date) -> str:
    """The changelog with its `Unreleased` as this version's, and a new empty one above."""
    before, found, after = changelog.partition(UNRELEASED)
    if not found:
        raise ReleaseError(f"{CHANGELOG} has no line `{UNRELEASED.strip()}`; write what changed beneath one.")
    if not after.partition("\n## ")[0].strip():
        raise ReleaseError(f"{CHANGELOG} says nothing beneath `{UNRELEASED.strip()}`; write what changed there.")
    return f"{before}{UNRELEASED}\n## {version} · {day.isoformat()}\n{after}"


def prepared(root: Path, new: str, day: datetime.date) -> dict[str, str]:
    """Every file that changes, with its new text; ReleaseError."""
    old = current(root)
    if not follows(old, new):
        raise ReleaseError(f"{new!r} does not follow {old}: name the next patch, minor or major version (x.y.z).")
    texts = renamed(root, old, new)
    texts[CHANGELOG] = released((root / CHANGELOG).read_text(), new, day)
    return texts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("version", help=f"the version to release, after {current()}")
    version: str = parser.parse_args().version
    try:
        check_tree(ROOT)
        texts = prepared(ROOT, version, datetime.datetime.now(datetime.UTC).date())
        check_contracts(ROOT)
        check_kubectl()
    except ReleaseError as refused:
        print(f"No release: {refused}", file=sys.stderr)
        return 1
    for name, text in texts.items():
        (ROOT / name).write_text(text)
    for number, (what, command) in enumerate(STEPS, start=1):
        print(f"{what} …", flush=True)
        release = [f"v{version}"] if number == len(STEPS) else []
        if subprocess.run([sys.executable, *command, *release], cwd=ROOT, check=False).returncode:
            print(
                f"No release: that failed. `git restore . && git clean -fd {FIXTURES}` takes back what was written.",
                file=sys.stderr,
            )
            return 1
    print(
        f"Written. Look at `git diff`, run `make setup` and `.ci/run`, then:\n"
        f"  git add -A && git commit -m 'Release {version}' && git tag -a v{version} -m {version}"
    )
    return 0


def check_tree(root: Path) -> None:
    """Raises ReleaseError where something is not committed."""
    said = subprocess.run(["git", "status", "--porcelain"], cwd=root, check=True, capture_output=True, text=True).stdout
    if said:
        raise ReleaseError(f"work is not committed:\n{said}")


def check_contracts(root: Path) -> None:
    """Raises ReleaseError where a contract would break a caller of a release."""
    buf = Path(sys.executable).parent / "buf"
    for image in sorted((root / FIXTURES).glob("*/promptmesh.binpb")):
        asked = [str(buf), "breaking", "protos", "--against", str(image)]
        answer = subprocess.run(asked, cwd=root, check=False, capture_output=True, text=True)
        if answer.returncode:
            raise ReleaseError(f"a caller of {image.parent.name} would break:\n{answer.stdout}{answer.stderr}")


def check_kubectl() -> None:
    """Raises ReleaseError where the manifests cannot be built."""
    if k8s_build.kubectl() is None:
        raise ReleaseError(
            f"there is no kubectl: install {k8s_build.KUBECTL_MIN} or later, the manifests are made anew."
        )


if __name__ == "__main__":
    raise SystemExit(main())
