"""Page tokens: opaque, and bound to the filters of the list that they continue (AIP-158).

A token is base64url of MAC ‖ cursor. The MAC covers the filters too, so a token that was changed, made up, or taken
from another list is refused instead of skipping or repeating rows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import orjson

from services.mesh.errors import FieldViolation, MeshError

PAGE_SIZE_DEFAULT = 50
_MAC_BYTES = 16
_CONTEXT = b"promptmesh page token\0"

Cursor = Sequence[str | int]
Filters = Mapping[str, object]


class PageTokens:
    """Makes and reads page tokens. `Mesh.page_tokens` is the process's."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, _CONTEXT, hashlib.sha256)

    def encode(self, cursor: Cursor, filters: Filters) -> str:
        """The token of the page after `cursor` (the sort key of the last row) of a list.

        filters: what else shapes the list, its name included: {"list": "posts", "tag": "story", "org_id": …}.
        """
        payload = orjson.dumps(list(cursor))
        return base64.urlsafe_b64encode(self._mac(payload, filters) + payload).decode().rstrip("=")

    def decode(self, token: str, filters: Filters) -> list[str | int] | None:
        """The cursor in a token; None for "", the first page. Raises MeshError PAGE_TOKEN_INVALID."""
        if not token:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _invalid() from None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, filters)):
            raise _invalid()
        cursor: list[str | int] = orjson.loads(payload)
        return cursor

    def _mac(self, payload: bytes, filters: Filters) -> bytes:
        bound = orjson.dumps(dict(filters), option=orjson.OPT_SORT_KEYS)
        length = len(bound).to_bytes(4, "big")
        return hmac.digest(self._key, length + bound + payload, hashlib.sha256)[:_MAC_BYTES]


def page_size(requested: int, default: int = PAGE_SIZE_DEFAULT) -> int:
    """How many rows a page has: as asked, `default` for 0. The contract's rules bound it."""
    return requested or default


def _invalid() -> MeshError:
    what = "is not the `next_page_token` of a page of this list with these filters"
    return MeshError(
        "PAGE_TOKEN_INVALID",
        f"page_token {what}. Send the filters of the page before, or begin anew without a token.",
        violations=[FieldViolation("page_token", what)],
    )
