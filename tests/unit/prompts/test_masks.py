"""Only what an author may change is changed."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from promptmesh.prompts.v1.posts_pb2 import Post, UpdatePostRequest

from services.mesh.errors import MeshError
from services.prompts.content import Content, Edit
from services.prompts.masks import edit_of

POST = Post(title="T", body="B", tags=["a"])


def edit(*paths: str, post: Post = POST) -> Edit:
    return edit_of(UpdatePostRequest(post=post, update_mask=FieldMask(paths=paths)))


def test_the_mask_says_what_is_taken() -> None:
    assert edit("title") == Edit(title="T")
    assert edit("tags", "body", "body") == Edit(body="B", tags=("a",))
    assert edit("tags", post=Post()) == Edit(tags=())


@pytest.mark.parametrize("paths", [(), ("*",), ("title", "state"), ("post_id",), ("title.x",), ("like_count",), ("",)])
def test_other_fields_are_refused_by_name(paths: tuple[str, ...]) -> None:
    with pytest.raises(MeshError) as caught:
        edit(*paths)
    assert caught.value.reason == "FIELD_MASK_INVALID"
    assert "title, body, tags" in caught.value.message
    assert caught.value.violations[0].field == "update_mask"


def test_the_fault_of_a_mask_is_told() -> None:
    with pytest.raises(MeshError) as missing:
        edit()
    assert missing.value.message.startswith("update_mask is required; it says which of title, body, tags to change")
    assert "?updateMask=title,body" in missing.value.message
    with pytest.raises(MeshError) as unknown:
        edit("title", "nope")
    assert unknown.value.message.startswith("update_mask names nope; ")


def test_what_a_post_needs_cannot_be_emptied() -> None:
    with pytest.raises(MeshError) as caught:
        edit("title", "body", "tags", post=Post())
    assert caught.value.reason == "INVALID_FIELD"
    assert [one.field for one in caught.value.violations] == ["post.title", "post.body"]


def test_an_edit_leaves_the_rest() -> None:
    before = Content("t", "b", ("x", "y"))
    assert Edit(body="c").of(before) == Content("t", "c", ("x", "y"))
    assert Edit(tags=()).of(before) == Content("t", "b", ())


def test_a_digest_tells_contents_apart() -> None:
    contents = [
        Content("ab", "c", ()),
        Content("a", "bc", ()),
        Content("a", "b", ("c",)),
        Content("a", "b", ("c", "d")),
        Content("a", "b", ("cd",)),
    ]
    assert len({one.digest() for one in contents}) == len(contents)
    assert Content("a", "b", ("c",)).digest() == Content("a", "b", ("c",)).digest()
