"""Builds the images, with buildah or docker: `python -m tools.images` (`make images`).

Into out/images: an OCI archive and an SBOM of each. What is fetched is held against hashes before the build, which
itself needs no network: wheels against requirements/*.txt, Debian's packages by apt's signatures. Files carry the time
SOURCE_DATE_EPOCH, else that of the last commit. IMAGES_BASE names another base; IMAGES_ENGINE another engine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tools import sbom

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "images"
IMAGES = {"services": "promptmesh", "edge": "promptmesh-edge"}
"""Stage of the Containerfile → name of the image."""
LOCKS = {"services": ("services.txt",), "edge": ("services.txt", "edge.txt")}
DEBIAN = "bookworm"
BASE_PACKAGES = ("python3.11", "python3.11-venv", "ca-certificates", "media-types", "netbase", "tzdata")
BASE_NAME = "promptmesh-base"
APP = ("services", "gateway")
NOT_IN_THE_APP = ("services/local/", "gateway/web/")
MADE = ("gen", "gateway/web/dist", "gateway/web/not_built.html")
"""What `make proto` and `make web` make, and is in no commit; and the page that stands in for the latter."""


class ImagesError(Exception):
    """No image can be built; the message says what is missing."""


def engine() -> str | None:
    """buildah, or docker where one answers; None: there is neither."""
    if named := os.environ.get("IMAGES_ENGINE"):
        return named
    if shutil.which("buildah"):
        return "buildah"
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0
    ):
        return "docker"
    return None


def epoch() -> int:
    """The time that files carry, in seconds since 1970."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(_output("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))


def release() -> str:
    """The version that the images are tagged with."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def make_context(folder: Path, wheels: Path) -> None:
    """Everything that the Containerfile copies, and nothing else. wheels: a folder of them."""
    copy_app(folder / "app")
    for name in ("rootfs.py", "entry.py", "Containerfile"):
        _copy(ROOT / "images" / name, folder / name)
    for name in ("services.txt", "edge.txt"):
        _copy(ROOT / "requirements" / name, folder / "locks" / name)
    wheels.rename(folder / "wheels")
    for stage in IMAGES:
        (folder / sbom_name(stage)).write_text(_sbom(stage, {}))


def copy_app(folder: Path) -> None:
    """Our code, and what is made of it, without what only `promptmesh up` needs."""
    files = _output("git", "-C", str(ROOT), "ls-files", *APP).splitlines()
    for name in files:
        if not name.startswith(NOT_IN_THE_APP):
            _copy(ROOT / name, folder / name)
    for name in MADE:
        if not (ROOT / name).exists():
            raise ImagesError(f"{name} is not there; run `make proto` and `make web` first.")
        _copy(ROOT / name, folder / name)


def sbom_name(stage: str) -> str:
    return f"sbom.{stage}.cdx.json"


def _sbom(stage: str, system: dict[tuple[str, str], str]) -> str:
    locks = [(ROOT / "requirements" / name).read_text() for name in LOCKS[stage]]
    return json.dumps(sbom.document(IMAGES[stage], release(), locks, system), indent=1) + "\n"


def fetch_wheels(folder: Path) -> None:
    """The wheels of both locks, each with a hash that its lock allows."""
    for lock in ("services.txt", "edge.txt"):
        _run(
            *(sys.executable, "-m", "pip", "download", "-qqq", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary", ":all:", "--require-hashes", "--dest", str(folder)),
            *("-r", str(ROOT / "requirements" / lock)),
        )


class Engine:
    """buildah or docker, with everything that it stores in a folder of ours (buildah) that goes with it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._epoch = str(epoch())  # once: both images are of one time, whatever is committed meanwhile

    def command(self, *arguments: str) -> list[str]:
        if self.name != "buildah":
            return [self.name, *arguments]
        # vfs and chroot: neither overlay mounts nor a user namespace are needed, so a container may build, too.
        store = ("--root", str(self._folder / "store"), "--runroot", str(self._folder / "run"))
        return ["buildah", "--storage-driver", "vfs", *store, *arguments]

    def base(self) -> str:
        """The name of a Debian to build in: the one that IMAGES_BASE names, else one made of Debian's packages."""
        if named := os.environ.get("IMAGES_BASE"):
            return named
        if not shutil.which("mmdebstrap"):
            raise ImagesError("IMAGES_BASE names no base, and there is no mmdebstrap to make one (Debian: mmdebstrap).")
        archive = self._folder / "base.tar"
        _run(
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", DEBIAN),
            str(archive),
            SOURCE_DATE_EPOCH=self._epoch,
        )
        if self.name != "buildah":
            _run(self.name, "import", str(archive), BASE_NAME)
        else:
            container = _output(*self.command("from", "scratch")).strip()
            _run(*self.command("add", "--quiet", container, str(archive), "/"))
            _run(*self.command("commit", "--quiet", "--rm", container, BASE_NAME))
        archive.unlink()
        return BASE_NAME if self.name != "buildah" else f"localhost/{BASE_NAME}"

    def build(self, stage: str, base: str, context: Path) -> str:
        """Builds an image; its full name."""
        name = f"{IMAGES[stage]}:{release()}"
        common = ("--target", stage, "--build-arg", f"BASE={base}", "-f", str(context / "Containerfile"), "-t", name)
        if self.name == "buildah":
            # (chroot has no network of its own to switch off.)
            how = ("--isolation", "chroot", "--layers=false", "--timestamp", self._epoch)
            _run(*self.command("build", "--quiet", *how, *common, str(context)))
        else:
            stamped = ("--build-arg", f"SOURCE_DATE_EPOCH={self._epoch}", "--network", "none")
            _run(*self.command("build", "--quiet", *stamped, *common, str(context)))
        return name

    def save(self, name: str, file: Path) -> None:
        """Writes an image as an archive."""
        file.unlink(missing_ok=True)
        if self.name == "buildah":
            _run(*self.command("push", "--quiet", name, f"oci-archive:{file}:{name}"))
        else:
            _run(*self.command("save", "--output", str(file), name))

    def status(self, name: str) -> list[str]:
        """dpkg's paragraphs of what of Debian is in an image; with docker, which cannot show its files, none."""
        if self.name != "buildah":
            print(
                f"{name}: its SBOM lacks Debian's packages, which only a build with buildah can read.", file=sys.stderr
            )
            return []
        container = _output(*self.command("from", name)).strip()
        folder = Path(_output(*self.command("mount", container)).strip()) / "var/lib/dpkg/status.d"
        return [file.read_text() for file in sorted(folder.iterdir())]


def build_all(out: Path, chosen: str) -> None:
    """Builds both images into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="promptmesh-images-") as scratch:
        folder = Path(scratch)
        wheels, context = folder / "wheels", folder / "context"
        wheels.mkdir()
        fetch_wheels(wheels)
        make_context(context, wheels)
        tool = Engine(chosen, folder)
        base = tool.base()
        for stage in IMAGES:
            name = tool.build(stage, base, context)
            archive = out / f"{IMAGES[stage]}.tar"
            tool.save(name, archive)
            (out / sbom_name(stage)).write_text(_sbom(stage, sbom.debian(tool.status(name))))
            print(f"{name}: {archive.stat().st_size // 2**20} MiB in {archive.relative_to(out.parent)}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **environment})


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(arguments: Sequence[str] = ()) -> int:
    """The command; answers its exit status."""
    chosen = engine()
    if chosen is None:
        print("There is neither buildah nor a docker that answers (Debian: buildah).", file=sys.stderr)
        return 1
    try:
        build_all(Path(arguments[0]) if arguments else OUT, chosen)
    except (ImagesError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
