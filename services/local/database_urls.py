"""Addresses of one database for its several users."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit


def role_of(service: str) -> str:
    """The database role of a service."""
    return f"promptmesh_{service}"


def with_user(url: str, user: str, password: str) -> str:
    """The same database address for another user."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}"))
