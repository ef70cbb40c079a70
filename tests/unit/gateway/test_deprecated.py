"""What a contract deprecates is marked in the OpenAPI document and on the reference page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from gateway import contracts, openapi, reference

POSTS = "promptmesh/prompts/v1/posts.proto"


def image() -> FileDescriptorSet:
    """The contracts, with nothing in them deprecated."""
    found = FileDescriptorSet.FromString(contracts.DEFAULT_IMAGE.read_bytes())
    for file in found.file:
        for service in file.service:
            service.options.ClearField("deprecated")
            for method in service.method:
                method.options.ClearField("deprecated")
        for message in file.message_type:
            for field in message.field:
                field.options.ClearField("deprecated")
    return found


def document(found: FileDescriptorSet, folder: Path) -> dict[str, Any]:
    (folder / "image.binpb").write_bytes(found.SerializeToString())
    return openapi.document(contracts.load(folder / "image.binpb", with_comments=True))


def posts(found: FileDescriptorSet) -> FileDescriptorProto:
    return next(file for file in found.file if file.name == POSTS)


def method(found: FileDescriptorSet, name: str) -> MethodDescriptorProto:
    return next(one for one in posts(found).service[0].method if one.name == name)


def field(found: FileDescriptorSet, message: str, name: str) -> FieldDescriptorProto:
    owner = next(one for one in posts(found).message_type if one.name == message)
    return next(one for one in owner.field if one.name == name)


def operations(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for verbs in made["paths"].values() for one in verbs.values()}


def article(page: str, name: str) -> str:
    """A method's part of the page."""
    return page.partition(f'<article id="{name}">')[2].partition("</article>")[0]


def test_nothing_is_marked_where_nothing_is_deprecated(tmp_path: Path) -> None:
    made = document(image(), tmp_path)
    assert '"deprecated"' not in str(made).replace("'", '"')
    assert 'class="deprecated"' not in reference.page(made)


def test_a_method(tmp_path: Path) -> None:
    found = image()
    method(found, "GetPost").options.deprecated = True
    made = document(found, tmp_path)

    marked = [name for name, one in operations(made).items() if "deprecated" in one]
    assert marked == ["PostService_GetPost"]
    assert operations(made)["PostService_GetPost"]["deprecated"] is True
    page = reference.page(made)
    assert '<p class="meta"><span class="deprecated">deprecated</span>' in article(page, "PostService_GetPost")
    assert 'GetPost <span class="deprecated">deprecated</span></a>' in page  # in the list of methods
    assert page.count('class="deprecated"') == 2


def test_every_method_of_a_service(tmp_path: Path) -> None:
    found = image()
    posts(found).service[0].options.deprecated = True

    for name, operation in operations(document(found, tmp_path)).items():
        assert operation.get("deprecated", False) is name.startswith("PostService_"), name


def test_fields_of_bodies_and_answers(tmp_path: Path) -> None:
    found = image()
    field(found, "CreatePostRequest", "tags").options.deprecated = True
    field(found, "Post", "example").options.deprecated = True  # a message: a reference with words beside it
    made = document(found, tmp_path)

    schemas = made["components"]["schemas"]
    assert schemas["prompts.v1.CreatePostRequest"]["properties"]["tags"]["deprecated"] is True
    assert "deprecated" not in schemas["prompts.v1.CreatePostRequest"]["properties"]["title"]
    example = schemas["prompts.v1.Post"]["properties"]["example"]
    assert example["deprecated"] is True
    assert "$ref" in example
    page = reference.page(made)
    row = r'<code>{}</code>(?: <span class="must">required</span>)? <span class="deprecated">deprecated</span>'
    assert re.search(row.format("tags"), article(page, "PostService_CreatePost"))
    assert re.search(row.format("example"), article(page, "PostService_GetPost"))
    assert not re.search(row.format("title"), page)


@pytest.mark.parametrize(
    ("message", "name", "place"), [("ListPostsRequest", "page_size", "query"), ("GetPostRequest", "post_id", "path")]
)
def test_a_parameter_and_not_its_schema(message: str, name: str, place: str, tmp_path: Path) -> None:
    found = image()
    field(found, message, name).options.deprecated = True
    made = document(found, tmp_path)

    operation = operations(made)[f"PostService_{message.removesuffix('Request')}"]
    (marked,) = [one for one in operation["parameters"] if "deprecated" in one]
    assert (marked["name"], marked["in"], marked["deprecated"]) == (openapi.parameter_name(name), place, True)
    assert "deprecated" not in marked["schema"]
    assert reference.page(made).count('class="deprecated"') == 1


def test_messages_enums_and_their_values(tmp_path: Path) -> None:
    found = image()
    file = posts(found)
    next(one for one in file.message_type if one.name == "Post").options.deprecated = True
    enum = next(one for one in file.enum_type if one.name == "PostState")
    enum.options.deprecated = True
    enum.value[1].options.deprecated = True
    schemas = document(found, tmp_path)["components"]["schemas"]

    assert schemas["prompts.v1.Post"]["deprecated"] is True
    assert schemas["prompts.v1.PostState"]["deprecated"] is True
    lines = schemas["prompts.v1.PostState"]["description"].splitlines()
    assert [line.split(":")[0] for line in lines if ": Deprecated." in line] == [f"`{enum.value[1].name}`"]
