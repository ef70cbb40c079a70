"""Generates the stubs under `gen/` and the descriptor image that the edge and reflection use.

One image, `gen/promptmesh.binpb`, is built by buf from the contracts; protoc reads that same image, so that stubs,
transcoder, reflection and OpenAPI cannot disagree. The image keeps the comments (source info) for the reference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
GEN = ROOT / "gen"
# Packages that come installed: their stubs are not generated again.
INSTALLED_PREFIXES = ("google/",)
NAMESPACE = "promptmesh"


def main() -> None:
    fresh = ROOT / ".build" / "gen"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    image = fresh / "promptmesh.binpb"
    subprocess.run([str(BIN / "buf"), "build", "--as-file-descriptor-set", "-o", str(image)], cwd=ROOT, check=True)
    files = [
        file.name
        for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
        if not file.name.startswith(INSTALLED_PREFIXES)
    ]
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={image}"),
            *(f"--python_out={fresh}", f"--grpc_python_out={fresh}"),
            *(f"--mypy_out=quiet:{fresh}", f"--mypy_grpc_out=quiet:{fresh}"),
            *files,
        ],
        cwd=ROOT,
        check=True,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"},
    )
    for stub in list(fresh.rglob("*_pb2.py")):
        for folder in stub.relative_to(fresh).parents[:-1]:
            (fresh / folder / "__init__.py").touch()
    # `promptmesh` itself is a namespace: the Python client's package of that name may stand beside it.
    (fresh / NAMESPACE / "__init__.py").unlink()
    for area in (fresh / NAMESPACE).iterdir():
        (area / "py.typed").touch()
    for old in GEN.iterdir() if GEN.exists() else ():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    GEN.mkdir(exist_ok=True)
    for new in fresh.iterdir():
        new.rename(GEN / new.name)
    # In a process of its own, which imports the stubs just made: the OpenAPI document and the reference page.
    subprocess.run([sys.executable, "-m", "gateway.reference"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
