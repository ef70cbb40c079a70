"""The contracts compile with grpc-gateway's plugin as they are: the annotations are all it needs.

The plugin is asked in protoc's own way (a CodeGeneratorRequest on its standard input). Debian's `golang-grpc-gateway`
has it in version 1, which protoc itself would not let near `optional` fields; for the plugin those are oneofs of one
field, as the descriptors say. Version 2 takes the same request.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

IMAGE = Path(__file__).resolve().parents[2] / "gen" / "promptmesh.binpb"
PLUGIN = shutil.which("protoc-gen-grpc-gateway")
GO_ROOT = "example.com/promptmesh"

pytestmark = pytest.mark.skipif(PLUGIN is None, reason="protoc-gen-grpc-gateway is not installed")


def files() -> list[descriptor_pb2.FileDescriptorProto]:
    return list(descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes()).file)


def packages() -> dict[str, list[str]]:
    """Files with services by package: Go compiles a package at a time."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files():
        if any(method.options.HasExtension(annotations_pb2.http) for one in file.service for method in one.method):
            found[file.package].append(file.name)
    return dict(found)


def compiled(*names: str) -> plugin_pb2.CodeGeneratorResponse:
    assert PLUGIN is not None
    # Where Go's packages are is the compiler's business, not the contracts': protoc takes it as M options as well.
    homes = ",".join(
        f"M{file.name}={GO_ROOT}/{Path(file.name).parent}" for file in files() if not file.options.go_package
    )
    request = plugin_pb2.CodeGeneratorRequest(file_to_generate=names, parameter=homes, proto_file=files())
    done = subprocess.run([PLUGIN], input=request.SerializeToString(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)


@pytest.mark.parametrize("package", sorted(packages()))
def test_every_binding_has_a_handler(package: str) -> None:
    answer = compiled(*packages()[package])
    assert not answer.error
    go = "\n".join(file.content for file in answer.file)
    bound = {
        (service.name, method.name)
        for file in files()
        if file.package == package
        for service in file.service
        for method in service.method
        if method.options.HasExtension(annotations_pb2.http)
    }
    assert bound
    handlers = {
        (match[1], match[2]) for match in re.finditer(r"^func request_(\w+?Service)_(\w+)_\d+\(", go, re.MULTILINE)
    }
    assert handlers == bound


def test_a_binding_that_names_no_field_would_be_found() -> None:
    """The plugin looks: this is not a test of nothing."""
    broken = files()
    (posts,) = (file for file in broken if file.name == "promptmesh/prompts/v1/posts.proto")
    posts.service[0].method[1].options.Extensions[annotations_pb2.http].get = "/api/v1/posts/{no_such_field}"
    assert PLUGIN is not None
    request = plugin_pb2.CodeGeneratorRequest(file_to_generate=[posts.name], proto_file=broken)
    done = subprocess.run([PLUGIN], input=request.SerializeToString(), capture_output=True, timeout=60, check=False)
    said = done.stderr.decode() + plugin_pb2.CodeGeneratorResponse.FromString(done.stdout).error
    assert "no_such_field" in said
