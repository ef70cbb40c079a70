from __future__ import annotations

import string
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.access.v1.access_pb2 import Audience, Role
from promptmesh.auth.v1 import auth_pb2

from services.mesh.access import keys
from services.mesh.access.control import credential_of
from services.mesh.access.identities import Identities
from services.mesh.access.policies import EXEMPT_SERVICES, Policy, policies_of
from services.mesh.access.rules import check_policy
from services.mesh.access.scopes import DEFAULT_KEY_SCOPES, scopes_of
from services.mesh.access.service_tokens import LIFETIME_S, ServiceTokens
from services.mesh.call import ANONYMOUS, Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.reflection import all_services
from services.mesh.snapshots import ResyncError

PEPPER = b"p" * 32
SESSION = Caller(CallerKind.SESSION, user_id="u", roles=frozenset({1}), scopes=scopes_of([1]), session_id="s")
KEY = Caller(CallerKind.API_KEY, user_id="u", roles=frozenset({1}), scopes=frozenset({"posts:read"}), api_key_id="k")
SERVICE = Caller(CallerKind.SERVICE, service="prompts")
PUBLIC, CALLER, OWN, MESH = (
    Audience.AUDIENCE_PUBLIC,
    Audience.AUDIENCE_CALLER,
    Audience.AUDIENCE_SESSION,
    Audience.AUDIENCE_SERVICE,
)


def policy(audience: int, **rule: Any) -> Policy:
    return Policy(audience, **{name: frozenset(value) for name, value in rule.items()})


@pytest.mark.parametrize(
    ("rule", "caller", "reason"),
    [
        (policy(PUBLIC, scopes=["posts:read"]), ANONYMOUS, ""),
        (policy(PUBLIC, scopes=["posts:write"]), KEY, "SCOPE_MISSING"),
        (policy(PUBLIC, scopes=["posts:write"]), SERVICE, ""),
        (policy(CALLER), ANONYMOUS, "CREDENTIAL_MISSING"),
        (policy(CALLER), KEY, ""),
        (policy(CALLER), SESSION, ""),
        (policy(CALLER), SERVICE, "AUDIENCE_MISMATCH"),
        (policy(CALLER, services=["*"]), SERVICE, ""),
        (policy(CALLER, services=["prompts"]), SERVICE, ""),
        (policy(CALLER, services=["auth"]), SERVICE, "AUDIENCE_MISMATCH"),
        (policy(CALLER, scopes=["posts:read", "posts:write"]), KEY, "SCOPE_MISSING"),
        (policy(OWN), KEY, "AUDIENCE_MISMATCH"),
        (policy(OWN), SESSION, ""),
        (policy(OWN), ANONYMOUS, "CREDENTIAL_MISSING"),
        (policy(OWN, roles=[Role.ROLE_ADMIN]), SESSION, "ROLE_MISSING"),
        (policy(OWN, roles=[Role.ROLE_ADMIN, Role.ROLE_USER]), SESSION, ""),
        (policy(MESH, services=["*"]), SESSION, "AUDIENCE_MISMATCH"),
        (policy(MESH, services=["*"]), ANONYMOUS, "CREDENTIAL_MISSING"),
        (policy(MESH, services=["prompts"]), SERVICE, ""),
        (policy(MESH), SERVICE, "AUDIENCE_MISMATCH"),
    ],
)
def test_the_rule(rule: Policy, caller: Caller, reason: str) -> None:
    found = ""
    try:
        check_policy(rule, caller)
    except MeshError as error:
        found = error.reason
    assert found == reason


def test_refusals_name_what_is_missing() -> None:
    with pytest.raises(MeshError, match="posts:write") as caught:
        check_policy(policy(CALLER, scopes=["posts:write"]), KEY)
    assert caught.value.metadata == {"scopes": "posts:write"}
    with pytest.raises(MeshError, match="admin or moderator"):
        check_policy(policy(OWN, roles=[Role.ROLE_ADMIN, Role.ROLE_MODERATOR]), SESSION)


def test_every_method_of_the_contracts_says_who_may_call_it() -> None:
    found = policies_of(all_services())
    assert len(found) > 30
    assert not EXEMPT_SERVICES & {path[1:].rpartition("/")[0] for path in found}
    people = {scope for rule in found.values() for scope in rule.scopes}
    assert people <= scopes_of([Role.ROLE_USER])


def test_scopes() -> None:
    assert set(DEFAULT_KEY_SCOPES) < scopes_of([Role.ROLE_USER])
    assert scopes_of([]) == frozenset()
    assert scopes_of([99]) == frozenset()


# API keys


def test_a_new_key() -> None:
    secret = keys.new_secret()
    assert keys.well_formed(secret)
    assert keys.looks_like_key(secret)
    assert len(secret) == 49
    assert keys.prefix(secret) == secret[:11]
    assert len(keys.digest(PEPPER, secret)) == 32
    assert keys.digest(PEPPER, secret) != keys.digest(b"q" * 32, secret)
    assert keys.new_secret() != secret


@given(st.integers(3, 48), st.sampled_from(string.ascii_letters + string.digits + "-_é "))
def test_any_single_typo_is_seen(place: int, typed: str) -> None:
    secret = keys.new_secret()
    changed = secret[:place] + typed + secret[place + 1 :]
    assert keys.well_formed(changed) is (changed == secret)


@given(st.text(max_size=60))
def test_nonsense_is_no_key(text: str) -> None:
    assert not keys.well_formed(text)
    assert not keys.well_formed("pm_" + text)


# Credentials


def test_where_credentials_are_found() -> None:
    assert credential_of({}) is None
    assert credential_of({"authorization": "Bearer a.b.c"}) == "a.b.c"
    assert credential_of({"authorization": "bearer  x "}) == "x"
    assert credential_of({"x-api-key": "pm_1"}) == "pm_1"


# Mesh tokens


class FixedClock:
    def __init__(self) -> None:
        self.at = time.time()

    def time(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def now(self) -> Any:
        raise NotImplementedError


def test_a_mesh_token_is_renewed_in_good_time() -> None:
    clock = FixedClock()
    tokens = ServiceTokens("prompts", PEPPER, clock)
    first = tokens.token()
    clock.at += LIFETIME_S / 2 - 1
    assert tokens.token() == first
    clock.at += 2
    assert tokens.token() != first
    assert tokens.verify(first).service == "prompts"


def test_a_clock_that_was_ahead_costs_no_minute_once_it_is_right() -> None:
    right, clock = FixedClock(), FixedClock()
    tokens, others = ServiceTokens("prompts", PEPPER, clock), ServiceTokens("auth", PEPPER, right)
    clock.at += 900
    tokens.token()
    clock.at = right.at
    assert others.verify(tokens.token()).expire_time == right.at + LIFETIME_S


# Identities


def state(version: int, **parts: Any) -> auth_pb2.WatchIdentitiesResponse:
    return auth_pb2.WatchIdentitiesResponse(version=version, state=auth_pb2.IdentityState(**parts))


def ended(version: int, session_id: str, forget_s: int = 2_000_000_000) -> auth_pb2.WatchIdentitiesResponse:
    restriction = auth_pb2.SessionRestriction(session_id=session_id)
    restriction.forget_time.FromSeconds(forget_s)
    return auth_pb2.WatchIdentitiesResponse(version=version, session_ended=restriction)


def test_changes_follow_on_each_other() -> None:
    identities = Identities()
    with pytest.raises(ResyncError):
        identities.apply(ended(1, "a"))  # nothing is known yet
    assert identities.apply(state(5)) == 5
    assert identities.apply(ended(6, "a")) == 6
    assert identities.apply(ended(6, "a")) == 6  # seen before
    assert identities.session_ended("a")
    with pytest.raises(ResyncError):
        identities.apply(ended(8, "b"))
    heartbeat = auth_pb2.FeedHeartbeat()
    assert identities.apply(auth_pb2.WatchIdentitiesResponse(version=6, heartbeat=heartbeat)) == 6
    with pytest.raises(ResyncError):
        identities.apply(auth_pb2.WatchIdentitiesResponse(version=7, heartbeat=heartbeat))
    assert identities.apply(state(2)) == 2  # an owner that was put back to an older state
    assert not identities.session_ended("a")


def test_an_answer_older_than_a_revocation_does_not_undo_it() -> None:
    identities = Identities()
    identities.apply(state(1))
    key = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, roles=[1], scopes=["posts:read"])
    revoked = auth_pb2.KeyIdentity()
    revoked.CopyFrom(key)
    revoked.revoked = True
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, key_changed=revoked))
    assert identities.learn(key).revoked


def test_a_key_never_carries_more_than_its_person_may() -> None:
    identities = Identities()
    identities.apply(state(1))
    key = auth_pb2.KeyIdentity(digest=b"d", user_id="u", roles=[Role.ROLE_USER], scopes=["posts:write", "future:scope"])
    assert identities.learn(key).caller.scopes == {"posts:write"}
    changed = auth_pb2.UserRestriction(user_id="u", roles=[Role.ROLE_AUDITOR])
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, user_changed=changed))
    known = identities.key(b"d")
    assert known is not None
    assert known.caller.roles == {Role.ROLE_AUDITOR}
    assert known.caller.scopes == frozenset()


def test_whoever_listens_for_an_end_is_told_once_it_comes() -> None:
    identities = Identities()
    identities.apply(state(1))
    told: list[str] = []
    off = identities.on_end(SESSION, lambda: told.append("session"))
    identities.apply(ended(2, "other"))
    assert not told
    identities.apply(ended(3, "s"))
    assert told == ["session"]
    off()
    identities.apply(ended(4, "s"))
    assert told == ["session"]
    assert not identities._ends


def test_that_a_key_was_made_ends_no_call_that_it_has_begun() -> None:
    """Auth tells of a new key over the feed too, which may come after its first call was let in."""
    identities = Identities()
    identities.apply(state(1))
    told: list[str] = []
    key = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, user_id="u", roles=[1], scopes=["posts:read"])
    identities.on_end(identities.learn(key).caller, lambda: told.append("key"))
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, key_changed=key))
    assert told == []
    narrower = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, user_id="u", roles=[1])
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=3, key_changed=narrower))
    assert told == ["key"]
    revoked = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, user_id="u", roles=[1], revoked=True)
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=4, key_changed=revoked))
    assert told == ["key", "key"]


def test_an_end_that_came_between_being_let_in_and_listening_is_known() -> None:
    identities = Identities()
    identities.apply(state(1))
    assert not identities.ended(SESSION)
    identities.apply(ended(2, "s"))
    assert identities.ended(SESSION)
    key = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, user_id="u", roles=[1], scopes=["posts:read"])
    caller = identities.learn(key).caller
    assert not identities.ended(caller)
    changed = auth_pb2.UserRestriction(user_id="u", roles=[Role.ROLE_AUDITOR])
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=3, user_changed=changed))
    assert identities.ended(caller)
    other = auth_pb2.KeyIdentity(api_key_id="l", digest=b"e" * 32, user_id="v", roles=[1])
    caller = identities.learn(other).caller
    other.revoked = True
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=4, key_changed=other))
    assert identities.ended(caller)


def test_roles_that_a_token_has_already_do_not_end_it() -> None:
    identities = Identities()
    identities.apply(state(1))
    changed = auth_pb2.UserRestriction(user_id="u", roles=[Role.ROLE_AUDITOR])
    changed.change_time.FromSeconds(1000)
    identities.apply(auth_pb2.WatchIdentitiesResponse(version=2, user_changed=changed))
    older, newer = replace(SESSION, issue_time=999.0), replace(SESSION, issue_time=1001.0)
    assert identities.ended(older)
    assert not identities.ended(newer)
    assert not identities.ended(identities.with_present_roles(older))


def test_a_whole_state_says_nothing_of_keys() -> None:
    identities = Identities()
    identities.apply(state(1))
    key = auth_pb2.KeyIdentity(api_key_id="k", digest=b"d" * 32, roles=[1])
    caller = identities.learn(key).caller
    off = identities.on_end(caller, lambda: None)
    assert identities.stale_callers() == []
    identities.apply(state(7))
    assert identities.stale_callers() == [caller]
    identities.learn(key, epoch=1)  # asked before the gap
    assert identities.stale(caller)
    identities.learn(key)
    assert not identities.stale(caller)
    off()
    assert identities._watched_keys == {}


def test_the_whole_state_tells_of_ends_that_were_missed() -> None:
    identities = Identities()
    identities.apply(state(1))
    told: list[str] = []
    identities.on_end(SESSION, lambda: told.append("session"))
    restriction = auth_pb2.SessionRestriction(session_id="s")
    identities.apply(state(9, sessions=[restriction]))
    assert told == ["session"]
