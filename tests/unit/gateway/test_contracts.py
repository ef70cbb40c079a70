"""The contracts as the edge reads them, and what it refuses to serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from promptmesh.access.v1 import access_pb2

from gateway import contracts
from gateway.contracts import Binding, ContractError


def test_every_method_of_the_mesh_is_read_with_its_access() -> None:
    read = contracts.load()

    assert {service.area for service in read.services} == {"auth", "events", "inference", "moderation", "prompts"}
    assert all(method.access.audience for method in read.methods)


def test_rest_bindings_of_all_services_are_unique() -> None:
    """Two bindings of one path pass Envoy's validation and then answer 503."""
    shapes = [binding.shape for method in contracts.load().methods for binding in method.bindings]

    assert shapes
    assert len(shapes) == len(set(shapes))


def test_openai_paths_are_apart_from_ours() -> None:
    for method in contracts.load().methods:
        for binding in method.bindings:
            openai = method.service.endswith(".OpenAiService")
            ours = ("/api/v1/", "/.well-known/", "/p/")  # the last: pages of the web app
            assert binding.path.startswith("/v1/" if openai else ours), method.path


def test_internal_methods_have_no_rest_binding() -> None:
    internal = [method for method in contracts.load().methods if method.internal]

    assert {method.name for method in internal} >= {"ResolveApiKey", "WatchIdentities", "Replay"}
    assert not any(method.bindings for method in internal)


def test_comments_are_read_on_request() -> None:
    assert contracts.load().comments == {}
    assert contracts.load(with_comments=True).comments["promptmesh.prompts.v1.Post.post_id"] == "UUIDv7."


@pytest.mark.parametrize(
    ("path", "variables", "shape", "regex"),
    [
        ("/api/v1/posts", (), "GET /api/v1/posts", "/api/v1/posts"),
        ("/a/{post.post_id}:like", ("post.post_id",), "GET /a/{*}:like", "/a/[^/?]+:like"),
        ("/v1/models/{model=**}", ("model",), "GET /v1/models/{**}", "/v1/models/[^?]+"),
    ],
)
def test_a_path_template_is_taken_apart(path: str, variables: tuple[str, ...], shape: str, regex: str) -> None:
    binding = Binding("GET", path, "")

    assert (binding.variables, binding.shape, binding.regex) == (variables, shape, regex)


def test_a_field_has_all_its_spellings() -> None:
    assert contracts.load().spellings("promptmesh.prompts.v1.UpdatePostRequest", "post.post_id") == (
        "post.post_id",
        "post.postId",
    )


def test_two_methods_of_one_path_are_refused(tmp_path: Path) -> None:
    image = _image(tmp_path, {"First": "/a/{id}", "Second": "/a/{name}"})

    with pytest.raises(ContractError, match=r"First and .*Second are both bound to GET /a/\{\*\}"):
        contracts.load(image)


def test_a_method_without_access_is_refused(tmp_path: Path) -> None:
    image = _image(tmp_path, {"First": "/a"}, audience=None)

    with pytest.raises(ContractError, match="First has no access option"):
        contracts.load(image)


def test_an_internal_method_with_a_rest_binding_is_refused(tmp_path: Path) -> None:
    image = _image(tmp_path, {"First": "/a"}, audience=access_pb2.AUDIENCE_SERVICE)

    with pytest.raises(ContractError, match="First is for services alone"):
        contracts.load(image)


def test_what_is_no_image_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"no descriptor image at .*make proto"):
        contracts.load(tmp_path / "missing.binpb")
    (tmp_path / "broken.binpb").write_bytes(b"\xff\xff")
    with pytest.raises(ContractError, match="not a descriptor image"):
        contracts.load(tmp_path / "broken.binpb")


def _image(folder: Path, methods: dict[str, str], audience: int | None = access_pb2.AUDIENCE_PUBLIC) -> Path:
    file = FileDescriptorProto(name="t.proto", package="promptmesh.prompts.v1", syntax="proto3")
    file.message_type.add(name="Ask").field.add(name="id", number=1, type=9, label=1, json_name="id")
    service = file.service.add(name="TestService")
    for name, path in methods.items():
        method = service.method.add(
            name=name, input_type=".promptmesh.prompts.v1.Ask", output_type=".promptmesh.prompts.v1.Ask"
        )
        method.options.Extensions[annotations_pb2.http].get = path
        if audience is not None:
            method.options.Extensions[access_pb2.access].audience = audience
    image = folder / "image.binpb"
    image.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    return image
