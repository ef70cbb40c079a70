"""Generates the TypeScript client's stubs into `clients/typescript/src/gen` (not committed).

They come from the image that all else is made of, `gen/promptmesh.binpb`, cut down to what a browser uses, so that the
web app's first load stays small. google.rpc's details of errors come from the installed package.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from google.api import httpbody_pb2
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2
from google.protobuf.compiler import plugin_pb2
from google.rpc import error_details_pb2, status_pb2
from promptmesh.access.v1 import access_pb2

from tools.descriptor_pruning import pruned
from tools.node import NODE, ROOT, environment, install

PACKAGE = ROOT / "clients" / "typescript"
GEN = PACKAGE / "src" / "gen"
PLUGIN = PACKAGE / "node_modules" / "@bufbuild" / "protoc-gen-es" / "bin" / "protoc-gen-es"
# js+dts rather than ts: enums are then made from the descriptors, which bundles smaller and can be shaken off.
PARAMETER = "target=js+dts,import_extension=js"
# Raw bodies of OpenAI's API, for OpenAI's own clients.
WITHOUT_SERVICES = ("promptmesh.inference.v1.OpenAiService",)
DETAILS = ("Status", "ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure", "RequestInfo")
REASONS = "promptmesh/errors/v1/reason.proto"
REASON_PREFIX = "REASON_"


def main() -> None:
    install(PACKAGE)
    image = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "promptmesh.binpb").read_bytes())
    files = {file.name: file for file in image.file}
    for module in (any_pb2, duration_pb2, httpbody_pb2, status_pb2, error_details_pb2):
        if module.DESCRIPTOR.name not in files:
            added = descriptor_pb2.FileDescriptorProto()
            module.DESCRIPTOR.CopyToProto(added)
            files[added.name] = added
    services, internal = _services(files.values())
    kept = pruned(
        files.values(),
        services=services,
        without_methods=internal,
        messages=[f"google.rpc.{name}" for name in DETAILS],
    )
    request = plugin_pb2.CodeGeneratorRequest(
        file_to_generate=[file.name for file in kept if not file.name.startswith("google/protobuf/")],
        parameter=PARAMETER,
        proto_file=_in_order({file.name: file for file in kept}),
    )
    done = subprocess.run(
        [str(NODE), str(PLUGIN)],
        input=request.SerializeToString(),
        stdout=subprocess.PIPE,
        cwd=PACKAGE,
        env=environment(),
        check=True,
    )
    answer = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if answer.error:
        raise SystemExit(f"protoc-gen-es: {answer.error}")
    written = {GEN / each.name: each.content for each in answer.file}
    written[GEN / "reasons.ts"] = _reasons(files[REASONS])
    shutil.rmtree(GEN, ignore_errors=True)
    for path, content in written.items():
        _write(path, content)


def _services(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> tuple[set[str], set[str]]:
    """Full names of the services that a client may call, and of their methods that it may not."""
    services, internal = set(), set()
    for file in files:
        for service in file.service:
            name = f"{file.package}.{service.name}"
            hidden = {
                f"{name}.{method.name}"
                for method in service.method
                if method.options.Extensions[access_pb2.access].audience == access_pb2.AUDIENCE_SERVICE
            }
            if name not in WITHOUT_SERVICES and len(hidden) < len(service.method):
                services.add(name)
                internal |= hidden
    return services, internal


def _in_order(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> list[descriptor_pb2.FileDescriptorProto]:
    """Each file after those that it needs, as plugins demand."""
    ordered: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for needed in files[name].dependency:
                add(needed)
            ordered[name] = files[name]

    for name in files:
        add(name)
    return list(ordered.values())


def _reasons(file: descriptor_pb2.FileDescriptorProto) -> str:
    """The reasons of errors as a type: costs nothing in a bundle, and comparing with a wrong word does not compile."""
    names = [value.name.removeprefix(REASON_PREFIX) for value in file.enum_type[0].value if value.number]
    return "\n".join(
        [
            f"// Generated from protos/{REASONS}.",
            "/** Why the mesh refused a call or failed at it. */",
            "export type Reason =",
            *(f'  | "{name}"' for name in names),
            ";\n",
        ]
    )


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


if __name__ == "__main__":
    main()
