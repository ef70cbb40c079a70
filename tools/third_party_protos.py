"""Brings the third-party .proto files that our contracts import into `third_party/protos`.

`google/api` and `google/rpc` come from the installed `googleapis-common-protos`, `google/protobuf` is built into
buf, and `buf/validate` comes from protovalidate's source distribution, pinned by hash in
`requirements/protos.txt`. Nothing here is committed: `make proto` runs it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "third_party" / "protos"
GOOGLE_FILES = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
    "google/api/client.proto",
    "google/api/launch_stage.proto",
    "google/api/field_behavior.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)
VALIDATE = "buf/validate/validate.proto"


def bring_google() -> None:
    for name in GOOGLE_FILES:
        folder, _, file = name.rpartition("/")
        target = TARGET / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(resources.files(folder.replace("/", ".")).joinpath(file).read_bytes())


def bring_validate() -> None:
    target = TARGET / VALIDATE
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
                *("--no-build-isolation", "--disable-pip-version-check", "--require-hashes"),
                *("--dest", folder, "--requirement", str(ROOT / "requirements" / "protos.txt")),
            ],
            check=True,
        )
        (archive,) = Path(folder).glob("protovalidate-*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = [m for m in tar.getmembers() if m.name.endswith("/upstream/proto/" + VALIDATE)]
            source = tar.extractfile(member)
            assert source is not None
            with target.open("wb") as out:
                shutil.copyfileobj(source, out)


if __name__ == "__main__":
    bring_google()
    bring_validate()
