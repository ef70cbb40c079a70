"""The rules of the contracts in words for people."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from promptmesh.auth.v1.auth_pb2 import SetRolesRequest
from promptmesh.inference.v1 import inference_pb2
from promptmesh.moderation.v1.moderation_pb2 import ListCasesRequest, ResolveCaseRequest, ScreenRequest
from promptmesh.prompts.v1.posts_pb2 import CreatePostRequest, GetPostRequest, UpdatePostRequest

from services.mesh.errors import MeshError
from services.mesh.validation import refuse_nul, spellings_of, validate

ID = "0197c0de-0000-7000-8000-000000000000"


def refused(message: Message) -> MeshError:
    with pytest.raises(MeshError) as caught:
        validate(message)
    assert caught.value.reason == "INVALID_FIELD"
    return caught.value


def told(message: Message) -> list[tuple[str, str]]:
    return [(one.field, one.description) for one in refused(message).violations]


def test_an_empty_field_has_one_fault() -> None:
    assert told(CreatePostRequest()) == [("title", "is required"), ("body", "is required")]
    assert told(GetPostRequest()) == [("post_id", "is required")]
    assert told(UpdatePostRequest()) == [("post", "is required")]
    assert ("tags[0]", "is required") in told(CreatePostRequest(title="t", body="b", tags=[""]))


def test_enums_are_told_by_name() -> None:
    only = [("decision", "must be VERDICT_ALLOW or VERDICT_REJECT")]
    assert told(ResolveCaseRequest(case_id=ID, decision=2)) == only  # type: ignore[arg-type]
    assert told(ResolveCaseRequest(case_id=ID)) == only
    ((field, words),) = told(ScreenRequest(text="t", surface=99))  # type: ignore[arg-type]
    assert (field, words.startswith("must be SURFACE_UNSPECIFIED, SURFACE_")) == ("surface", True)
    ((field, words),) = told(SetRolesRequest(user_id=ID, roles=[0]))  # type: ignore[list-item]
    assert (field, words.startswith("must be ROLE_USER")) == ("roles[0]", True)
    assert told(ListCasesRequest(state=99))[0][0] == "state"  # type: ignore[arg-type]


def test_the_message_names_both_spellings() -> None:
    error = refused(GetPostRequest(post_id="7"))
    assert error.message.startswith("post_id (postId) must be a valid UUID")
    assert error.violations[0].field == "post_id"


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("title", "title"),
        ("post.tags[2]", "post.tags[2]"),
        ("post.post_id", "post.post_id (post.postId)"),
        ('a_b["c_d"].e_f', 'a_b["c_d"].e_f (aB["c_d"].eF)'),
    ],
)
def test_spellings(path: str, spelled: str) -> None:
    assert spellings_of(path) == spelled


def test_a_nul_in_a_map_is_named_by_its_key() -> None:
    request = inference_pb2.GenerateRequest(tags={"a": "b\0", "c\0": "d", "e": "f"})
    request.extra.update({"suffix": "g\0", "list": ["h", "i\0"]})

    with pytest.raises(MeshError) as caught:
        refuse_nul(request, request.SerializeToString())

    fields = {violation.field for violation in caught.value.violations}
    assert fields >= {'tags["a"]', 'tags["c\0"]', 'extra["suffix"]'}
    assert len(fields) == 4
