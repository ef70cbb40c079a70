"""The descriptor image that browsers get: smaller, whole in itself, its comments where they belong."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool

from tools.descriptor_pruning import pruned
from tools.node import ROOT

POSTS = "promptmesh.prompts.v1.PostService"
AUTH = "promptmesh.auth.v1.AuthService"
INTERNAL = {f"{AUTH}.ResolveApiKey", f"{AUTH}.WatchIdentities"}


def _image() -> list[descriptor_pb2.FileDescriptorProto]:
    image = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "promptmesh.binpb").read_bytes())
    return list(image.file)


def _comments(files: list[descriptor_pb2.FileDescriptorProto]) -> dict[str, str]:
    """Leading comments of top-level messages, enums, and methods, by name."""
    found = {}
    for file in files:
        for location in file.source_code_info.location:
            match list(location.path):
                case [4, message]:
                    found[file.message_type[message].name] = location.leading_comments
                case [5, enum]:
                    found[file.enum_type[enum].name] = location.leading_comments
                case [6, service, 2, method]:
                    found[file.service[service].method[method].name] = location.leading_comments
    return found


def test_what_is_kept_is_whole_and_what_is_not_needed_is_gone() -> None:
    kept = pruned(_image(), services=[POSTS, AUTH], without_methods=INTERNAL)

    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in kept}
    while waiting:
        ready = [file for file in waiting.values() if not waiting.keys() & set(file.dependency)]
        assert ready, f"files need each other: {sorted(waiting)}"
        for file in ready:
            pool.Add(waiting.pop(file.name))
    auth = pool.FindServiceByName(AUTH)
    assert "CreateSession" in auth.methods_by_name
    assert not INTERNAL & {method.full_name for method in auth.methods}
    names = {message.name for file in kept for message in file.message_type}
    assert {"Post", "Example", "User", "Timestamp"} <= names
    assert not names & {"KeyIdentity", "IdentityState", "Access", "GenerateRequest", "FieldRules"}


def test_no_option_is_left() -> None:
    image = _image()
    kept = pruned(image, services=[POSTS, AUTH], without_methods=INTERNAL)
    fields = [field for file in kept for message in file.message_type for field in message.field]

    assert fields
    assert not [field.name for field in fields if field.HasField("options")]
    assert not [
        method.name for file in kept for each in file.service for method in each.method if method.options.ByteSize()
    ]
    assert any(
        field.HasField("options") for file in image for message in file.message_type for field in message.field
    ), "the image itself was changed"


def test_maps_stay_maps() -> None:
    kept = pruned(_image(), services=["promptmesh.inference.v1.InferenceService"], without_methods=())
    (request,) = [one for file in kept for one in file.message_type if one.name == "GenerateRequest"]

    assert [one.name for one in request.nested_type if one.options.map_entry] == ["TagsEntry"]


def test_comments_follow_their_elements() -> None:
    image = _image()
    kept = pruned(image, services=[AUTH, "promptmesh.moderation.v1.PolicyService"], without_methods=INTERNAL)
    names = {file.name for file in kept}
    before = _comments([file for file in image if file.name in names])
    after = _comments(kept)

    assert {"GetMe", "User", "PolicyVersion", "GetPolicy"} <= after.keys()
    assert "Case" not in after
    assert after == {name: before[name] for name in after}


def test_what_is_deprecated_still_says_so() -> None:
    """The stubs' generator makes `@deprecated` of it."""
    image = _image()
    service = next(one for file in image for one in file.service if one.name == "PostService")
    service.method[0].options.deprecated = True
    message = next(one for file in image for one in file.message_type if one.name == "Post")
    message.field[0].options.deprecated = True
    kept = pruned(image, services=[POSTS], without_methods=())

    (method, *others) = next(one for file in kept for one in file.service).method
    assert method.options.deprecated
    assert not any(one.HasField("options") for one in others)
    fields = next(one for file in kept for one in file.message_type if one.name == "Post").field
    assert [field.options.deprecated for field in fields] == [True] + [False] * (len(fields) - 1)
