"""Scopes: what a credential may be used for."""

from __future__ import annotations

from collections.abc import Iterable

from promptmesh.access.v1.access_pb2 import Role

POSTS_READ = "posts:read"
POSTS_WRITE = "posts:write"
INFERENCE_INVOKE = "inference:invoke"
USAGE_READ = "usage:read"
MODERATION_SCREEN = "moderation:screen"

# What an API key carries if its maker named none.
DEFAULT_KEY_SCOPES = (POSTS_READ, POSTS_WRITE, INFERENCE_INVOKE)

_EVERYONE = frozenset({POSTS_READ, POSTS_WRITE, INFERENCE_INVOKE, USAGE_READ, MODERATION_SCREEN})
_BY_ROLE: dict[int, frozenset[str]] = {
    Role.ROLE_USER: _EVERYONE,
    Role.ROLE_MODERATOR: _EVERYONE,
    Role.ROLE_ADMIN: _EVERYONE,
    Role.ROLE_AUDITOR: frozenset({POSTS_READ, USAGE_READ}),
    Role.ROLE_SERVICE: _EVERYONE,
}


def scopes_of(roles: Iterable[int]) -> frozenset[str]:
    """Every scope that a person's roles allow: what their sessions carry, and the most that their API keys can."""
    return frozenset[str]().union(*(_BY_ROLE.get(role, frozenset()) for role in roles))
