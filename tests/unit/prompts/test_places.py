"""Places of watch streams: counted by process, caller and address, and given back."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from services.mesh.call import ANONYMOUS, Call, Caller, CallerKind
from services.mesh.errors import MeshError
from services.prompts.places import Places, place_of

ANN = Caller(CallerKind.SESSION, user_id="ann")
KEY_OF_ANN = Caller(CallerKind.API_KEY, user_id="ann", api_key_id="k")
BOB = Caller(CallerKind.SESSION, user_id="bob")
MODERATION = Caller(CallerKind.SERVICE, service="moderation")
HERE, THERE = "192.0.2.1", "192.0.2.2"


def places(streams_max: int = 100, per_caller_max: int = 2, per_address_max: int = 3) -> Places:
    return Places(streams_max=streams_max, per_caller_max=per_caller_max, per_address_max=per_address_max)


def test_a_user_has_so_many_by_session_and_keys_together_wherever_they_are() -> None:
    all_of_them = places()
    with all_of_them.take(ANN, HERE), all_of_them.take(KEY_OF_ANN, THERE):
        with pytest.raises(MeshError, match=r"WATCH_LIMIT.*your account.*: 2") as caught, all_of_them.take(ANN, THERE):
            pass
        assert caught.value.retry_after_s
        assert caught.value.quota[0].description == "at most 2"
        with all_of_them.take(BOB, HERE):
            pass


def test_an_address_has_so_many_without_a_credential_and_users_there_have_their_own() -> None:
    all_of_them = places()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(all_of_them.take(ANONYMOUS, HERE))
        with pytest.raises(MeshError, match=r"WATCH_LIMIT.*your address.*: 3"), all_of_them.take(ANONYMOUS, HERE):
            pass
        stack.enter_context(all_of_them.take(ANONYMOUS, THERE))
        stack.enter_context(all_of_them.take(ANN, HERE))


def test_the_process_has_an_end_for_all() -> None:
    all_of_them = places(streams_max=2)
    with all_of_them.take(MODERATION, HERE), all_of_them.take(MODERATION, HERE):
        with pytest.raises(MeshError, match="This process serves 2"), all_of_them.take(BOB, HERE):
            pass
        assert len(all_of_them) == 0


def test_places_come_back_however_a_stream_ends_and_nothing_is_kept_of_who_left() -> None:
    all_of_them = places(per_address_max=1)
    for number in range(1000):
        with pytest.raises(ZeroDivisionError), all_of_them.take(ANONYMOUS, str(number)):
            raise ZeroDivisionError
        with all_of_them.take(ANONYMOUS, HERE):
            assert len(all_of_them) == 1
    assert len(all_of_them) == 0


@pytest.mark.parametrize(
    ("metadata", "peer", "place"),
    [
        ({"x-envoy-external-address": "203.0.113.9"}, "ipv4:127.0.0.1:5000", "203.0.113.9"),
        ({"x-envoy-external-address": "2001:db8:1:2:3::4"}, "ipv4:127.0.0.1:5000", "2001:db8:1:2::/64"),
        ({"x-envoy-external-address": "anything at all"}, "ipv4:127.0.0.1:5000", "127.0.0.1"),
        ({}, "ipv4:127.0.0.1:5000", "127.0.0.1"),
        ({}, "ipv6:%5B2001:db8::1%5D:5000", "2001:db8::/64"),
        ({}, "ipv6:[2001:db8::1%25eth0]:5000", "2001:db8::/64"),
        ({}, "ipv6:[::ffff:192.0.2.1]:5000", "192.0.2.1"),
        ({}, "unix:/run/x", "unix"),
    ],
)
def test_addresses(metadata: dict[str, str], peer: str, place: str) -> None:
    assert place_of(Call("", "", metadata=metadata, peer=lambda: peer)) == place
