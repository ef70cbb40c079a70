"""Two secrets of one key in what a process knows: whatever comes in whatever order, no end moves later."""

from __future__ import annotations

import time

from promptmesh.auth.v1 import auth_pb2

from services.mesh.access.identities import Identities

OLD, NEW, NEWEST = b"1" * 32, b"2" * 32, b"3" * 32


def key(digest: bytes, previous: bytes = b"", left_s: float = 60.0, *ended: bytes) -> auth_pb2.KeyIdentity:
    identity = auth_pb2.KeyIdentity(
        api_key_id="k", digest=digest, user_id="u", roles=[1], scopes=["posts:read"], ended_digests=ended
    )
    if previous:
        identity.previous_digest = previous
        identity.previous_expire_time.FromNanoseconds(int((time.time() + left_s) * 1e9))
    return identity


def known() -> Identities:
    identities = Identities()
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=1, state=auth_pb2.IdentityState()))
    return identities


def test_both_secrets_stand_for_the_key() -> None:
    identities = known()
    identities.learn(key(NEW, OLD))
    old, new = identities.key(OLD), identities.key(NEW)
    assert old is not None
    assert new is not None
    assert new.caller.expire_time is None
    assert old.caller.expire_time is not None
    assert old.caller.api_key_id == new.caller.api_key_id == "k"
    assert (old.caller.key_digest, new.caller.key_digest) == (OLD, NEW)


def test_an_answer_from_before_a_rotation_undoes_nothing() -> None:
    identities = known()
    identities.learn(key(NEW, OLD))
    identities.learn(key(OLD))
    old = identities.key(OLD)
    assert old is not None
    assert old.caller.expire_time is not None
    identities.learn(key(NEWEST, NEW, 60.0, OLD))
    identities.learn(key(NEW, OLD))
    old = identities.key(OLD)
    assert old is not None
    assert old.revoked
    new = identities.key(NEW)
    assert new is not None
    assert new.caller.expire_time is not None
    assert not new.revoked


def test_what_goes_on_under_a_secret_ends_with_it_alone() -> None:
    identities = known()
    told: list[str] = []
    identities.learn(key(OLD))
    first = identities.key(OLD)
    assert first is not None
    identities.on_end(first.caller, lambda: told.append("old"))
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, key_changed=key(NEW, OLD)))
    second = identities.key(NEW)
    assert second is not None
    identities.on_end(second.caller, lambda: told.append("new"))
    assert told == []
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=3, key_changed=key(NEWEST, NEW, 60.0, OLD)))
    assert told == ["old"]
    identities.end_secret(NEW)
    assert told == ["old", "new"]


def test_a_revoked_key_ends_both() -> None:
    identities = known()
    told: list[str] = []
    identities.learn(key(NEW, OLD))
    for name, digest in (("old", OLD), ("new", NEW)):
        one = identities.key(digest)
        assert one is not None
        identities.on_end(one.caller, lambda name=name: told.append(name))  # type: ignore[misc]
    revoked = key(NEW, OLD)
    revoked.revoked = True
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, key_changed=revoked))
    assert sorted(told) == ["new", "old"]
