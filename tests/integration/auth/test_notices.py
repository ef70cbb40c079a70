"""Nobody is sent mails about an account that somebody else made under their address, and a password is changed only so
often."""

from __future__ import annotations

import asyncpg
import grpc
import pytest

from tests.integration.auth.accounts.world import ANOTHER, Person
from tests.integration.auth.factors import people_of
from tests.integration.auth.world import PASSWORD, Place, client_of, prove_address, refusal_of
from tests.integration.support.service_process import ServiceProcess

PROOFS = ("verify_email", "verify_email_optional", "reset_password")


async def notices_to(rows: asyncpg.Connection, email: str) -> list[str]:
    """The templates of what was written to an address, but for what proves it."""
    found = await rows.fetch("SELECT template FROM mails WHERE recipient = $1 ORDER BY create_time, mail_id", email)
    return [row["template"] for row in found if row["template"] not in PROOFS]


@pytest.mark.parametrize("proved", [False, True])
async def test_notices_go_to_proved_addresses_alone(
    service: ServiceProcess, rows: asyncpg.Connection, proved: bool
) -> None:
    async with people_of(service) as people:
        ada = await people()
        if proved:
            await prove_address(rows, ada.user.user_id)
        await ada.set_up_app()
        await ada("CreateRecoveryCodes")
        async with grpc.aio.insecure_channel(service.target) as channel:
            me = Person(channel, ada.session.access_token)
            for old, new in ((PASSWORD, ANOTHER), (ANOTHER, PASSWORD)):
                await me("ChangePassword", current_password=old, new_password=new)
            told = await notices_to(rows, ada.user.email)
            await me("DeleteMe")
    told += await notices_to(rows, ada.user.email)
    assert told == (
        ["factor_added", "recovery_codes_created", "password_changed", "password_changed", "account_deleted"]
        if proved
        else []
    )


async def test_a_password_is_changed_so_often_and_right_ones_count(place: Place, rows: asyncpg.Connection) -> None:
    with place.running(PASSWORD_CHANGES_MAX=2, WORKER="changes-0") as few:
        async with grpc.aio.insecure_channel(few.target) as channel, client_of(few) as client:
            session, _ = await client.somebody()
            me = Person(channel, session.access_token)
            words = [PASSWORD, ANOTHER]
            for _ in range(2):
                await me("ChangePassword", current_password=words[0], new_password=words[1])
                words.reverse()
            # Tries that were right use none of the session's up.
            for _ in range(12):
                refused = await refusal_of(me("ChangePassword", current_password=words[0], new_password=words[1]))
                assert (refused.reason, bool(refused.retry_after_s)) == ("RATE_LIMITED", True)
                assert "at most 2 times in 1 h" in refused.message
                assert [one.subject for one in refused.quota] == [f"user:{session.user.user_id}"]
            again = await client.log_in(session.user.email)  # the password is the one that it was
            assert await refusal_of(
                Person(channel, again.access_token)("ChangePassword", current_password=words[0], new_password=words[1])
            )
            await rows.execute("UPDATE tries SET end_time = now()")
            await me("ChangePassword", current_password=words[0], new_password=words[1])
