"""UpdatePost's field mask: which of title, body and tags an author changes."""

from __future__ import annotations

from promptmesh.prompts.v1 import posts_pb2

from services.mesh.errors import FieldViolation, MeshError
from services.prompts.content import Edit

FIELDS = ("title", "body", "tags")
_HOW = (
    f"it says which of {', '.join(FIELDS)} to change, all that an author can; "
    "in REST it is the query parameter ?updateMask=title,body"
)


def edit_of(request: posts_pb2.UpdatePostRequest) -> Edit:
    """The edit that a request asks for. Raises FIELD_MASK_INVALID and INVALID_FIELD."""
    paths = frozenset(request.update_mask.paths)
    unknown = sorted(paths.difference(FIELDS))
    if unknown or not paths:
        fault = f"names {', '.join(path or 'an empty path' for path in unknown)}" if unknown else "is required"
        raise MeshError(
            "FIELD_MASK_INVALID",
            f"update_mask {fault}; {_HOW}.",
            violations=[FieldViolation("update_mask", f"{fault}: {_HOW}")],
        )
    post = request.post
    # The rules in the proto let these be empty, as a post may come without what the mask does not name.
    empty = [field for field in ("title", "body") if field in paths and not getattr(post, field)]
    if empty:
        raise MeshError(
            "INVALID_FIELD",
            f"{' and '.join(empty)} cannot be empty. Leave out of update_mask what is to stay as it is.",
            violations=[
                FieldViolation(f"post.{field}", "must have at least one visible character", "string.min_len")
                for field in empty
            ],
        )
    return Edit(
        title=post.title if "title" in paths else None,
        body=post.body if "body" in paths else None,
        tags=tuple(post.tags) if "tags" in paths else None,
    )
