"""Tries are counted, and nobody is locked out by that."""

from __future__ import annotations

import asyncio

import asyncpg
import grpc

from services.auth.store import SQL
from tests.integration.auth.accounts.mailbox import Mailbox
from tests.integration.auth.accounts.world import ANOTHER, HOME, Person, known, log_in, reason_of_or_ok, register
from tests.integration.auth.world import Client, Place, reason_of, refusal_of


async def test_who_guesses_elsewhere_does_not_lock_the_owner_out(client: Client, nobody: Person) -> None:
    user, _ = await known(client, nobody)
    home = nobody.at(HOME)
    await log_in(home, user.email)  # so that home is known
    for stranger in range(5):
        there = nobody.at(f"203.0.113.{stranger}")
        for _ in range(10):
            assert await reason_of(log_in(there, user.email, "a guess of many")) == "LOGIN_FAILED"
        assert await reason_of(log_in(there, user.email, "a guess of many")) == "RATE_LIMITED"
    # All that strangers may try is used up: even the right password is refused from a place that is not known.
    refused = await refusal_of(log_in(nobody.at("192.0.2.1"), user.email))
    assert (refused.reason, bool(refused.retry_after_s)) == ("RATE_LIMITED", True)
    assert (await log_in(home, user.email)).user.user_id == user.user_id


async def test_a_reset_by_mail_makes_a_place_known(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    user, _ = await known(client, nobody)
    for stranger in range(5):
        for _ in range(10):
            await reason_of(log_in(nobody.at(f"203.0.113.{100 + stranger}"), user.email, "a guess of many"))
    away = nobody.at("192.0.2.77")
    assert await reason_of(log_in(away, user.email)) == "RATE_LIMITED"
    await away("RequestPasswordReset", email=user.email)
    token = await mailbox.token(user.email, "new password")
    await away("ResetPassword", token=token, new_password=ANOTHER)
    assert (await log_in(away, user.email, ANOTHER)).user.user_id == user.user_id


async def test_accounts_that_there_are_and_are_not_are_throttled_alike(client: Client, nobody: Person) -> None:
    user, _ = await known(client, nobody)
    told: list[list[tuple[str, str]]] = []
    for email, address in ((user.email, "192.0.2.31"), ("not-there@example.test", "192.0.2.32")):
        refusals = [await refusal_of(log_in(nobody.at(address), email, "a guess of many")) for _ in range(12)]
        told.append([(one.reason, one.message) for one in refusals])
    assert told[0] == told[1]
    assert [reason for reason, _ in told[0]] == ["LOGIN_FAILED"] * 10 + ["RATE_LIMITED"] * 2


async def test_guesses_at_once_are_counted_before_they_are_checked(client: Client, nobody: Person) -> None:
    user, _ = await known(client, nobody)
    there = nobody.at("192.0.2.40")
    reasons = await asyncio.gather(*(reason_of(log_in(there, user.email, "a guess of many")) for _ in range(40)))
    assert reasons.count("LOGIN_FAILED") <= 10
    assert set(reasons) == {"LOGIN_FAILED", "RATE_LIMITED"}


async def test_an_address_of_the_next_generation_counts_by_its_64(client: Client, nobody: Person) -> None:
    user, _ = await known(client, nobody)
    for host in range(10):
        await reason_of(log_in(nobody.at(f"2001:db8:1:1::{host:x}"), user.email, "a guess of many"))
    assert await reason_of(log_in(nobody.at("2001:db8:1:1::ff"), user.email)) == "RATE_LIMITED"
    assert await reason_of(log_in(nobody.at("2001:db8:1:2::ff"), user.email, "a guess of many")) == "LOGIN_FAILED"


async def test_counts_by_address_are_settings(place: Place) -> None:
    few = {"REGISTRATIONS_PER_ADDRESS_MAX": 2, "MAIL_REQUESTS_PER_ADDRESS_MAX": 2, "LOGINS_PER_ADDRESS_MAX": 3}
    with place.running(**few, WORKER="few-0") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            there, elsewhere = Person(channel, address="192.0.2.50"), Person(channel, address="192.0.2.51")
            for _ in range(2):
                await there("RequestPasswordReset", email="nobody@example.test")
            assert await reason_of(there("RequestPasswordReset", email="nobody@example.test")) == "RATE_LIMITED"
            await elsewhere("RequestPasswordReset", email="nobody@example.test")
            made = [await reason_of_or_ok(register(there, f"few-{number}@example.test")) for number in range(3)]
            assert made == ["ok", "ok", "RATE_LIMITED"]
            assert await reason_of_or_ok(register(elsewhere, "few-3@example.test")) == "ok"
            for number in range(3):
                assert await reason_of(log_in(there, f"unknown-{number}@example.test")) == "LOGIN_FAILED"
            assert await reason_of(log_in(there, "unknown-9@example.test")) == "RATE_LIMITED"
            assert await reason_of(log_in(elsewhere, "unknown-9@example.test")) == "LOGIN_FAILED"


async def test_counts_of_an_account_are_settings(client: Client, place: Place, nobody: Person) -> None:
    user, _ = await known(client, nobody)
    few = {
        "LOGINS_PER_ACCOUNT_AND_ADDRESS_MAX": 2,
        "LOGINS_PER_ACCOUNT_BY_STRANGERS_MAX": 3,
        "PROOFS_PER_SESSION_MAX": 1,
    }
    with place.running(**few, WORKER="few-1") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            guesses = [("192.0.2.52", "LOGIN_FAILED"), ("192.0.2.52", "LOGIN_FAILED"), ("192.0.2.52", "RATE_LIMITED")]
            guesses += [("192.0.2.53", "LOGIN_FAILED"), ("192.0.2.54", "RATE_LIMITED")]
            for address, reason in guesses:
                guess = log_in(Person(channel, address=address), user.email, "a guess of many")
                assert await reason_of(guess) == reason
            home = Person(channel)  # where it was registered from: the loopback address
            session = await log_in(home, user.email)
            me = Person(channel, session.access_token)
            wrong = {"current_password": "a guess of many", "new_password": ANOTHER}
            assert await reason_of(me("ChangePassword", **wrong)) == "PROOF_WRONG"
            assert await reason_of(me("ChangePassword", **wrong)) == "RATE_LIMITED"


async def test_a_window_ends(client: Client, nobody: Person, rows: asyncpg.Connection) -> None:
    user, _ = await known(client, nobody)
    there = nobody.at("192.0.2.55")
    for _ in range(11):
        await reason_of(log_in(there, user.email, "a guess of many"))
    assert await reason_of(log_in(there, user.email)) == "RATE_LIMITED"
    await rows.execute("UPDATE tries SET end_time = now()")
    assert (await log_in(there, user.email)).user.user_id == user.user_id


async def test_places_that_are_known_are_bounded(client: Client, place: Place, rows: asyncpg.Connection) -> None:
    user = await client.register()
    with place.running(KNOWN_ADDRESSES_MAX=2, WORKER="few-2") as service:
        async with grpc.aio.insecure_channel(service.target) as channel:
            for host in range(4):
                await log_in(Person(channel, address=f"192.0.2.{150 + host}"), user.email)
    kept = "SELECT count(*) FROM known_addresses WHERE user_id = $1"
    assert await rows.fetchval(kept, user.user_id) == 2


async def test_who_asks_for_many_mails_takes_nobodys_link_away(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, _ = await known(client, nobody)
    for number in range(8):
        await nobody.at(f"192.0.2.{60 + number}")("RequestPasswordReset", email=user.email)
    token = await mailbox.token(user.email, "new password", count=5)
    async with asyncio.timeout(30):
        while await rows.fetchval("SELECT count(*) FROM account_requests WHERE email = $1", user.email):
            await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        while await rows.fetchval("SELECT count(*) FROM mails WHERE user_id = $1 AND state = 1", user.user_id):
            await asyncio.sleep(0.05)
    assert len(mailbox.to(user.email, "new password")) == 5
    await nobody("ResetPassword", token=token, new_password=ANOTHER)


async def test_tries_are_given_back_in_the_order_in_which_they_are_taken(
    place: Place, rows: asyncpg.Connection
) -> None:
    low, high = b"\x01" * 16, b"\x02" * 16
    await rows.execute(
        "INSERT INTO tries SELECT key, 5, now() + interval '1 hour' FROM unnest($1::bytea[]) AS key", [low, high]
    )
    path = {"search_path": "auth"}
    waiting = await asyncpg.connect(place.admin_url, server_settings=path)
    other = await asyncpg.connect(place.admin_url, server_settings=path)
    try:
        held = rows.transaction()
        await held.start()
        await rows.execute("SELECT FROM tries WHERE key = $1 FOR UPDATE", low)
        pid = waiting.get_server_pid()
        giving = asyncio.create_task(waiting.execute(SQL["give_back_tries"], [high], [low]))
        async with asyncio.timeout(30):
            while not await other.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid):
                await asyncio.sleep(0.01)
        # It waits for the first key while it holds no later one: else another call could wait for it in turn.
        assert await other.fetchval("SELECT key FROM tries WHERE key = $1 FOR UPDATE NOWAIT", high) == high
        await rows.execute("UPDATE tries SET count = 7 WHERE key = $1", low)
        await held.commit()
        await giving
        left = await other.fetch("SELECT key, count FROM tries WHERE key = ANY ($1)", [low, high])
        assert [tuple(one) for one in left] == [(low, 6)]
    finally:
        await waiting.close()
        await other.close()
