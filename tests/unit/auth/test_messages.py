"""From events of auth's log to messages of the feed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.auth.v1 import auth_pb2, events_pb2

from services.auth.identities import StateNeeded, message_of
from services.mesh.events import Event


def event(payload: Message, position: int = 5) -> Event:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Event("id", payload.DESCRIPTOR.full_name, "org", "aggregate", 1, moment, "", position, 0, payload)


ROLES = events_pb2.UserRolesChanged(user_id="ada", roles=[1, 3], change_time=Timestamp(seconds=10))
KEY = events_pb2.ApiKeyChanged(identity=auth_pb2.KeyIdentity(api_key_id="key", revoked=True))
ENDED = events_pb2.SessionEnded(session_id="session", forget_time=Timestamp(seconds=20))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (ROLES, "user_changed"),
        (KEY, "key_changed"),
        (ENDED, "session_ended"),
        (events_pb2.UserRegistered(user=auth_pb2.User(user_id="ada", email="ada@example.test")), None),
    ],
)
def test_each_event_takes_its_version(payload: Message, kind: str | None) -> None:
    message = message_of(event(payload), 5, {})
    assert message.version == 5
    assert message.WhichOneof("event") == kind
    assert "example.test" not in str(message)


def test_what_an_event_says_is_handed_on() -> None:
    user = message_of(event(ROLES), 5, {}).user_changed
    assert (user.user_id, list(user.roles), user.change_time.seconds) == ("ada", [1, 3], 10)
    assert message_of(event(KEY), 5, {}).key_changed == KEY.identity
    session = message_of(event(ENDED), 5, {}).session_ended
    assert (session.session_id, session.forget_time.seconds) == ("session", 20)


@pytest.mark.parametrize(("known_s", "told"), [(9, True), (10, True), (11, False)])
def test_a_change_older_than_what_the_state_said_undoes_nothing(known_s: int, told: bool) -> None:
    message = message_of(event(ROLES), 5, {"ada": known_s * 10**9, "bob": 99 * 10**9})
    assert message.HasField("user_changed") is told
    assert message.version == 5


def test_an_event_that_this_release_cannot_read_needs_the_state() -> None:
    with pytest.raises(StateNeeded):
        message_of(event(KEY, position=6), 5, {})


def test_other_signing_keys_need_the_state() -> None:
    with pytest.raises(StateNeeded):
        message_of(event(events_pb2.SigningKeysChanged()), 5, {})
