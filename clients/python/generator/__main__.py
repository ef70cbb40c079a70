"""Writes the generated half of the package from gen/promptmesh.binpb (`make proto`).

    src/promptmesh/_proto/              messages, by protoc, of the reduced image (generator/image.py)
    src/promptmesh/types.py             all of them under one roof
    src/promptmesh/_methods.py          what the transport must know of each method
    src/promptmesh/_sync_services.py    one class a service, one typed method a call
    src/promptmesh/_async_services.py   the same, async

Runs in the repository's environment: `make client-python`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

from clients.python.generator import image
from clients.python.generator.contract import calls_of
from clients.python.generator.write import write_methods, write_services, write_types
from services.mesh.methods import is_read

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
PACKAGE = Path("src") / "promptmesh"
BIN = Path(sys.executable).parent


def main(project: Path) -> None:
    """Writes into a project's folder: this one's, or a copy's."""
    whole = (ROOT / "gen" / "promptmesh.binpb").read_bytes()
    calls = calls_of(whole, is_read)
    files = descriptor_pb2.FileDescriptorSet.FromString(whole).file
    messages = image.reduced(files, [name for call in calls for name in (call.request, call.response)])
    package = project / PACKAGE
    _stubs(messages, package / "_proto")
    (package / "types.py").write_text(write_types(messages))
    (package / "_methods.py").write_text(write_methods(calls))
    for is_async, name in ((False, "_sync_services.py"), (True, "_async_services.py")):
        (package / name).write_text(write_services(calls, is_async=is_async))


def _stubs(files: list[descriptor_pb2.FileDescriptorProto], target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        binary = out / "client.binpb"
        binary.write_bytes(descriptor_pb2.FileDescriptorSet(file=files).SerializeToString())
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={binary}"),
                *(f"--python_out={out}", f"--mypy_out=quiet:{out}"),
                *(file.name for file in files if file.name.startswith(image.MOVED)),
            ],
            check=True,
            env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"},
        )
        made = out / image.MOVED
        for stub in made.rglob("*_pb2.py"):
            for parent in (stub.parent, stub.parent.parent, made):
                (parent / "__init__.py").touch()
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
