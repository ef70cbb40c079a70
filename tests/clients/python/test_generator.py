"""What a contract deprecates is marked in the generated half of the client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from clients.python.generator import image
from clients.python.generator.contract import Call, calls_of
from clients.python.generator.write import write_services
from services.mesh.methods import is_read
from tests.clients.python.fresh import ROOT


def contracts() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((ROOT / "gen" / "promptmesh.binpb").read_bytes())


def calls(found: FileDescriptorSet) -> dict[str, Call]:
    return {f"{one.attribute}.{one.name}": one for one in calls_of(found.SerializeToString(), is_read)}


def service(found: FileDescriptorSet) -> Any:
    return next(one for file in found.file for one in file.service if one.name == "PostService")


def message(found: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(one for file in found.file for one in file.message_type if one.name == name)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_method_says_it_and_warns_who_calls_it(is_async: bool) -> None:
    found = contracts()
    next(one for one in service(found).method if one.name == "GetPost").options.deprecated = True
    text = write_services(calls(found).values(), is_async=is_async)

    assert text.count("Deprecated. ") == text.count("warnings.warn(") == 1
    names: dict[str, Any] = {}
    # What it imports is the client's, which is not installed here: names of annotations are never asked for.
    body = text.partition("\n\n\nclass ")[2]
    stand_ins = (
        "import warnings\nfrom unittest.mock import MagicMock\n_methods = MagicMock()\nrequest_of = MagicMock()\n"
    )
    exec(f"from __future__ import annotations\n{stand_ins}\nclass {body}", names)
    posts = names["AsyncPosts" if is_async else "Posts"]
    assert posts.get.__doc__.startswith("Deprecated. ")

    class Transport:
        def unary(self, *_: object) -> Any:
            return asyncio.sleep(0) if is_async else None

    def call() -> None:
        asked = posts(Transport()).get(post_id="x")
        if is_async:
            asyncio.run(asked)

    with pytest.warns(DeprecationWarning, match=r"posts\.get is deprecated"):
        call()


def test_nothing_warns_where_nothing_is_deprecated() -> None:
    found = contracts()
    assert "warnings" not in write_services(
        [one for one in calls(found).values() if not one.deprecated], is_async=False
    )


def test_every_method_of_a_service() -> None:
    found = contracts()
    service(found).options.deprecated = True
    assert all(one.deprecated for one in calls(found).values() if one.attribute == "posts")
    assert not any(one.deprecated for one in calls(found).values() if one.attribute == "auth")


def test_a_field_says_it_in_the_docstring_and_to_type_checkers() -> None:
    found = contracts()
    tags = next(one for one in message(found, "CreatePostRequest").field if one.name == "tags")
    tags.options.deprecated = True
    (told,) = [one.told for one in calls(found)["posts.create"].fields if one.proto.name == "tags"]
    assert told.startswith("Deprecated. ")
    text = write_services(calls(found).values(), is_async=False)
    assert "        tags: Deprecated. " in text

    kept = image.reduced(found.file, [".promptmesh.prompts.v1.CreatePostRequest"])
    fields = next(one for file in kept for one in file.message_type if one.name == "CreatePostRequest").field
    assert [one.name for one in fields if one.options.deprecated] == ["tags"]
    assert not [one.name for one in fields if one.HasField("options") and one.name != "tags"]
