"""Verification, resets, changes, export and deletion over a real database and a real SMTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from promptmesh.auth.v1 import accounts_pb2 as pb
from promptmesh.auth.v1 import auth_pb2, events_pb2
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub
from promptmesh.auth.v1.factors_pb2_grpc import FactorServiceStub
from promptmesh.auth.v1.organisations_pb2_grpc import OrganisationServiceStub
from promptmesh.events.v1.events_pb2 import Envelope

from services.auth.accounts.profile import SECRETS
from services.mesh.errors import MeshError
from tests.integration.auth.accounts.mailbox import Mailbox
from tests.integration.auth.accounts.world import ANOTHER, Person, known, reason_of_or_ok
from tests.integration.auth.factors import Person as WithFactors
from tests.integration.auth.teams import Teammate
from tests.integration.auth.world import (
    PASSWORD,
    Client,
    client_of,
    prove_address,
    reason_of,
    refusal_of,
    until_refused,
)
from tests.integration.support.service_process import ServiceProcess

# Proof of the address


async def test_an_address_is_proved_once(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    user, me = await known(client, nobody)
    token = await mailbox.token(user.email, "Confirm")
    refused = await refusal_of(nobody("VerifyEmail", token=token, password="not the password"))
    assert refused.reason == "PROOF_WRONG"  # and the link is still good
    await nobody("VerifyEmail", token=token, password=PASSWORD)
    assert (await client.log_in(user.email)).user.email_verified
    assert await reason_of(nobody("VerifyEmail", token=token, password=PASSWORD)) == "LINK_INVALID"
    sent = len(mailbox.to(user.email))
    await me("SendVerification")
    await me("RequestEmailChange", new_email=f"new-{user.email}")
    await mailbox.wait(user.email, "about to change")  # mails go in order: another would have come before
    assert len(mailbox.to(user.email)) == sent + 1


async def test_the_mail_says_what_an_account_whose_address_is_unproved_can_do(
    client: Client, strict: ServiceProcess, mailbox: Mailbox
) -> None:
    user = await client.register()
    assert "can use the account, but not confirm" in " ".join((await mailbox.wait(user.email)).body.split())
    async with client_of(strict) as where_required:
        user = await where_required.register("strict-text@example.test")
    assert "nobody can use the account until" in " ".join((await mailbox.wait(user.email)).body.split())


@pytest.mark.parametrize("token", ["pml_never", "?", "pml_" + "A" * 200, "päml"])
async def test_what_is_no_link_is_told_like_one_that_is_over(nobody: Person, token: str) -> None:
    for method, more in (("VerifyEmail", {"password": "x"}), ("ResetPassword", {"new_password": ANOTHER})):
        refused = await refusal_of(nobody(method, token=token, **more))
        assert (refused.reason, token in refused.message) == ("LINK_INVALID", False)


async def test_a_link_is_good_for_one_purpose(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    user, me = await known(client, nobody)
    token = await mailbox.token(user.email, "Confirm")
    assert await reason_of(nobody("ResetPassword", token=token, new_password=ANOTHER)) == "LINK_INVALID"
    assert await reason_of(me("ConfirmEmailChange", token=token)) == "LINK_INVALID"


async def test_where_proof_is_required_nothing_tells_who_has_an_account(
    strict: ServiceProcess, stranger: Person, mailbox: Mailbox
) -> None:
    async with client_of(strict) as client:
        email = "required@example.test"
        first = await client.register(email)
        assert first == auth_pb2.User(email=email, display_name="Ada")
        token = await mailbox.token(email, "Confirm")
        unproved = await refusal_of(client.log_in(email))
        unknown = await refusal_of(client.log_in("unknown@example.test"))
        wrong = await refusal_of(client.log_in(email, "not the password"))
        assert {(one.reason, one.message) for one in (unproved, unknown, wrong)} == {("LOGIN_FAILED", unknown.message)}
        await stranger("VerifyEmail", token=token, password=PASSWORD)
        session = await client.log_in(email)
        assert session.user.email_verified
        # Once more, with another password: the same answer; the owner is told, and nothing changes.
        assert await client.register(email, ANOTHER) == first
        await mailbox.wait(email, "You have an account already")
        assert await reason_of(client.log_in(email, ANOTHER)) == "LOGIN_FAILED"
        assert (await client.log_in(email)).user == session.user


async def test_registrations_of_one_address_at_once_make_one_account(
    strict: ServiceProcess, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    async with client_of(strict) as client:
        email = "at-once@example.test"
        answers = await asyncio.gather(*(client.register(email) for _ in range(8)))
        assert len({one.SerializeToString() for one in answers}) == 1
        await mailbox.wait(email, "Confirm")
        async with asyncio.timeout(30):
            while await rows.fetchval("SELECT count(*) FROM account_requests WHERE email = $1", email):
                await asyncio.sleep(0.05)
        assert await rows.fetchval("SELECT count(*) FROM users WHERE email = $1", email) == 1
        assert len(mailbox.to(email, "Confirm")) == 1


# Passwords


async def test_a_password_is_reset_once_and_ends_every_session(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, me = await known(client, nobody)
    session = await client.log_in(user.email)
    key = await client.bearing(session.access_token)("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="k"))
    await nobody("RequestPasswordReset", email=user.email.upper())
    await nobody("RequestPasswordReset", email="nobody-has-it@example.test")
    token = await mailbox.token(user.email, "new password")
    weak = await refusal_of(nobody("ResetPassword", token=token, new_password="password123"))
    assert weak.reason == "PASSWORD_WEAK"
    assert [one.field for one in weak.violations] == ["new_password"]
    tries = [nobody("ResetPassword", token=token, new_password=ANOTHER) for _ in range(8)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    (done,) = (one for one in answers if not isinstance(one, BaseException))
    assert done == pb.ResetPasswordResponse(api_keys_revoked=1)
    assert [one.reason for one in answers if isinstance(one, MeshError)] == ["LINK_INVALID"] * 7
    await until_refused(client.bearing(me.token))
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_REVOKED"
    assert await reason_of(client.log_in(user.email)) == "LOGIN_FAILED"
    assert (await client.log_in(user.email, ANOTHER)).user.email_verified
    assert "1 API keys" in (await mailbox.wait(user.email, "was changed")).body
    assert not mailbox.to("nobody-has-it@example.test")
    # The address was not proved before: whoever made a key with the account may have been somebody else.
    revoked = "SELECT revoke_time FROM api_keys WHERE api_key_id = $1"
    assert await rows.fetchval(revoked, key.api_key.api_key_id) is not None


async def test_who_proves_an_address_by_a_reset_finds_nothing_of_who_registered_under_it(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    session, squatter = await client.somebody()
    user, channel = session.user, nobody.channel
    # No call makes one in an organisation of a person's own any more.
    account_id = await rows.fetchval(
        "INSERT INTO service_accounts (service_account_id, org_id, display_name, maker_id)"
        " VALUES (gen_random_uuid(), $1, 'bot', $2) RETURNING service_account_id::text",
        *(user.org_id, user.user_id),
    )
    request = auth_pb2.CreateApiKeyRequest(display_name="bot's", service_account_id=account_id)
    key = (await squatter("CreateApiKey", request)).secret
    await WithFactors(AuthServiceStub(channel), FactorServiceStub(channel), user, session).set_up_app()
    await nobody("RequestPasswordReset", email=user.email)
    token = await mailbox.token(user.email, "new password")

    done = await nobody("ResetPassword", token=token, new_password=ANOTHER)

    assert (done.api_keys_revoked, done.factors_removed, done.service_accounts_deleted) == (1, 1, 1)
    body = (await mailbox.wait(user.email, "was made before was removed")).body
    assert "1 API keys, 1 second factors, 0 log-ins elsewhere and 1 service accounts" in " ".join(body.split())
    opened = await client.log_in(user.email, ANOTHER)
    assert opened.access_token, "a factor of the one before was asked for"
    for table in ("factors", "recovery_codes"):
        assert await rows.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user.user_id) == 0
    await until_refused(client.bearing(key))
    owner = Teammate(opened, client.bearing(opened.access_token), OrganisationServiceStub(channel))
    assert not (await owner("ListServiceAccounts", org_id=user.org_id)).service_accounts


async def test_a_reset_of_a_proved_address_leaves_second_factors(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    session, _ = await client.somebody()
    user, channel = session.user, nobody.channel
    await rows.execute("UPDATE users SET email_verify_time = now() WHERE user_id = $1", user.user_id)
    await WithFactors(AuthServiceStub(channel), FactorServiceStub(channel), user, session).set_up_app()
    await nobody("RequestPasswordReset", email=user.email)
    token = await mailbox.token(user.email, "new password")
    done = await nobody("ResetPassword", token=token, new_password=ANOTHER)
    assert done == pb.ResetPasswordResponse()
    assert (await mailbox.wait(user.email, "was changed")).subject == "Your password was changed"
    assert (await client.log_in(user.email, ANOTHER)).HasField("challenge")


async def test_a_link_ends_by_itself(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, _ = await known(client, nobody)
    await nobody("RequestPasswordReset", email=user.email)
    token = await mailbox.token(user.email, "new password")
    await rows.execute("UPDATE links SET expire_time = now() WHERE user_id = $1", user.user_id)
    assert await reason_of(nobody("ResetPassword", token=token, new_password=ANOTHER)) == "LINK_INVALID"


async def test_no_secret_of_a_link_is_kept(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, _ = await known(client, nobody)
    token = await mailbox.token(user.email, "Confirm")
    async with asyncio.timeout(30):
        while await rows.fetchval("SELECT count(*) FROM mails WHERE user_id = $1 AND state <> 2", user.user_id):
            await asyncio.sleep(0.05)
    for table in ("mails", "links"):
        kept = await rows.fetchval(f"SELECT jsonb_agg(t)::text FROM {table} AS t WHERE user_id = $1", user.user_id)
        assert token not in kept
        assert token.removeprefix("pml_") not in kept


async def test_a_change_of_the_password_ends_the_other_sessions(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, me = await known(client, nobody)
    await prove_address(rows, user.user_id)
    other = await client.log_in(user.email)
    wrong = me("ChangePassword", current_password="not the password", new_password=ANOTHER)
    assert await reason_of(wrong) == "PROOF_WRONG"
    weak = me("ChangePassword", current_password=PASSWORD, new_password=f"{user.email}")
    assert await reason_of(weak) == "PASSWORD_WEAK"
    same = await refusal_of(me("ChangePassword", current_password=PASSWORD, new_password=PASSWORD))
    assert same.reason == "PASSWORD_WEAK"
    assert [(one.field, one.reason) for one in same.violations] == [("new_password", "password.same")]
    await me("ChangePassword", current_password=PASSWORD, new_password=ANOTHER)
    await until_refused(client.bearing(other.access_token))
    assert (await client.bearing(me.token)("GetMe", auth_pb2.GetMeRequest())).user_id == user.user_id
    assert (await client.log_in(user.email, ANOTHER)).user.user_id == user.user_id
    await mailbox.wait(user.email, "was changed")


async def test_guesses_at_the_present_password_end_the_session(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, me = await known(client, nobody)
    await prove_address(rows, user.user_id)
    for _ in range(9):
        wrong = me("ChangePassword", current_password="not the password", new_password=ANOTHER)
        assert await reason_of(wrong) == "PROOF_WRONG"
    last = me("ChangePassword", current_password="not the password", new_password=ANOTHER)
    assert await reason_of(last) == "CREDENTIAL_REVOKED"
    await until_refused(client.bearing(me.token))
    assert "new password" in (await mailbox.wait(user.email, "logged out")).body
    fresh = Person(nobody.channel, (await client.log_in(user.email)).access_token)
    await fresh("ChangePassword", current_password=PASSWORD, new_password=ANOTHER)


@pytest.mark.parametrize("password", ["password123", "qwertyuiop", "promptmesh!", "aaaaaaaaaaaa"])
async def test_weak_passwords_are_refused_at_registering(client: Client, password: str) -> None:
    refused = await refusal_of(client.register(password=password))
    assert refused.reason == "PASSWORD_WEAK"
    assert password not in refused.message


# Addresses


async def test_a_new_address_is_taken_by_its_link(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    user, me = await known(client, nobody)
    other = await client.log_in(user.email)
    old_link = await mailbox.token(user.email, "Confirm")
    new = f"moved-{user.email}"
    await me("RequestEmailChange", new_email=new)
    assert new.split("@")[0] in (await mailbox.wait(user.email, "about to change")).body
    token = await mailbox.token(new, "Confirm your new")
    _, somebody_else = await known(client, nobody)
    assert await reason_of(somebody_else("ConfirmEmailChange", token=token)) == "LINK_INVALID"
    changed = await me("ConfirmEmailChange", token=token)
    assert (changed.email, changed.email_verified) == (new, True)
    assert await reason_of(me("ConfirmEmailChange", token=token)) == "LINK_INVALID"
    await mailbox.wait(user.email, "was changed")
    await until_refused(client.bearing(other.access_token))
    assert await reason_of(client.log_in(user.email)) == "LOGIN_FAILED"
    assert (await client.log_in(new)).user.user_id == user.user_id
    assert await reason_of(nobody("VerifyEmail", token=old_link, password=PASSWORD)) == "LINK_INVALID"


async def test_an_address_that_somebody_has_is_not_given_away(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    owner, _ = await known(client, nobody)
    user, me = await known(client, nobody)
    assert await me("RequestEmailChange", new_email=owner.email) is not None  # told as any other
    await mailbox.wait(owner.email, "You have an account already")
    await mailbox.wait(user.email, "about to change")
    assert not mailbox.to(owner.email, "Confirm your new")


async def test_an_address_that_was_taken_meanwhile(client: Client, nobody: Person, mailbox: Mailbox) -> None:
    user, me = await known(client, nobody)
    new = f"meanwhile-{user.email}"
    await me("RequestEmailChange", new_email=new)
    token = await mailbox.token(new, "Confirm your new")
    await client.register(new)
    assert await reason_of(me("ConfirmEmailChange", token=token)) == "LINK_INVALID"


# Name, export, deletion


async def test_a_name_is_changed_and_told(client: Client, nobody: Person, rows: asyncpg.Connection) -> None:
    user, me = await known(client, nobody)
    changed = await me("UpdateMe", user=pb.ProfileChange(display_name="Augusta"))
    assert changed.display_name == "Augusta"
    assert (await client.log_in(user.email)).user.display_name == "Augusta"
    [renamed] = await events(rows, events_pb2.UserRenamed, user.user_id)
    assert (renamed.user_id, renamed.display_name) == (user.user_id, "Augusta")
    refused = await refusal_of(
        me("UpdateMe", user=pb.ProfileChange(display_name="A"), update_mask={"paths": ["email"]})
    )
    assert refused.reason == "FIELD_MASK_INVALID"


async def events(rows: asyncpg.Connection, kind: Any, aggregate_id: str) -> list[Any]:
    query = "SELECT envelope FROM outbox WHERE aggregate_id = $1 AND type = $2 ORDER BY id"
    found = await rows.fetch(query, aggregate_id, kind.DESCRIPTOR.full_name)
    return [kind.FromString(Envelope.FromString(row["envelope"]).payload) for row in found]


async def test_an_export_holds_all_and_no_secret(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection
) -> None:
    user, me = await known(client, nobody)
    await client.bearing(me.token)("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="exported key"))
    token = await mailbox.token(user.email, "Confirm")
    body = await me("ExportMe")
    assert body.content_type == "application/json"
    document = json.loads(body.data)
    assert document["user"]["email"] == user.email
    assert [one["display_name"] for one in document["api_keys"]] == ["exported key"]
    assert len(document["sessions"]) == 1
    assert token.encode() not in body.data
    assert not [name for name in names(document) if any(word in name for word in SECRETS)]
    secret = await rows.fetchrow(
        "SELECT u.password_hash, encode(s.refresh_digest, 'hex') AS refresh, encode(k.digest, 'hex') AS key"
        " FROM users AS u JOIN sessions AS s USING (user_id) JOIN api_keys AS k USING (user_id) WHERE user_id = $1",
        user.user_id,
    )
    assert secret is not None
    assert not [one for one in secret.values() if one.encode() in body.data]


def names(document: Any) -> Iterator[str]:
    """The names of all members."""
    if isinstance(document, dict):
        yield from document
    for one in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from names(one)


async def test_a_deleted_account_is_gone(
    client: Client, nobody: Person, mailbox: Mailbox, rows: asyncpg.Connection, peer: Client
) -> None:
    user, me = await known(client, nobody)
    await prove_address(rows, user.user_id)
    caller = client.bearing(me.token)
    key = await caller("CreateApiKey", auth_pb2.CreateApiKeyRequest(display_name="k"))
    with_key = client.bearing(key.secret)
    assert (await with_key("GetMe", auth_pb2.GetMeRequest())).user_id == user.user_id
    await mailbox.wait(user.email, "Confirm")
    await me("DeleteMe")
    for gone in (caller, with_key):
        await until_refused_at_all(gone)
    assert await reason_of(client.log_in(user.email)) == "LOGIN_FAILED"
    await mailbox.wait(user.email, "deleted")
    async with asyncio.timeout(30):
        while await rows.fetchval("SELECT count(*) FROM mails WHERE recipient = $1", user.email):
            await asyncio.sleep(0.05)
    for table in ("users", "sessions", "api_keys", "links", "known_addresses", "mails"):
        assert not await rows.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user.user_id), table
    assert not await rows.fetchval("SELECT count(*) FROM organisations WHERE org_id = $1", user.org_id)
    [deleted] = await events(rows, events_pb2.UserDeleted, user.user_id)
    assert (deleted.user_id, deleted.org_id) == (user.user_id, user.org_id)
    # Who watches identities anew is told as well, as long as tokens may run.
    watch = peer.watch()
    first = await watch.read()
    watch.cancel()
    assert user.user_id in {one.user_id for one in first.state.users if one.deleted}
    assert (await client.register(user.email)).user_id != user.user_id  # the address is free


async def until_refused_at_all(person: Client) -> None:
    """Waits until calls of the person are refused, for whichever reason comes first."""
    reasons = {"SUSPENDED", "CREDENTIAL_REVOKED", "CREDENTIAL_INVALID"}
    async with asyncio.timeout(30):
        while await reason_of_or_ok(person("GetMe", auth_pb2.GetMeRequest())) not in reasons:
            await asyncio.sleep(0.02)


async def test_the_last_administrator_stays(client: Client, nobody: Person, rows: asyncpg.Connection) -> None:
    user, me = await known(client, nobody)
    await rows.execute("UPDATE users SET roles = '{1,3}' WHERE user_id = $1", user.user_id)
    try:
        assert await reason_of(me("DeleteMe")) == "LAST_ADMIN"
    finally:
        await rows.execute("UPDATE users SET roles = '{1}' WHERE user_id = $1", user.user_id)
