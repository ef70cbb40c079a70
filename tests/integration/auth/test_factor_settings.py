"""What an operator sets of second factors: limits, and the keys that seal secrets."""

from __future__ import annotations

import asyncio
import base64

import asyncpg
from promptmesh.auth.v1 import factors_pb2 as pb

from services.mesh.sealing import Sealer
from tests.integration.auth.factors import people_of, refused
from tests.integration.auth.world import PATIENCE_S, Place

KEY = bytes(range(32))
WRITTEN = base64.urlsafe_b64encode(KEY).decode()


async def test_limits_are_as_set(place: Place) -> None:
    limits = {"FACTORS_MAX": 1, "CHALLENGE_TRIES_MAX": 2, "CODE_GUESSES_MAX": 3, "CODE_GUESS_REFILL_S": 3600}
    with place.running(**limits) as service:
        async with people_of(service) as people:
            ada = await people()
            app, _ = await ada.set_up_app()
            assert await refused(ada("BeginPasskey")) == "FACTOR_LIMIT"
            first, second = await ada.challenge(), await ada.challenge()
            wrong = [await refused(ada.complete(first.challenge_token, totp_code=app.wrong())) for _ in range(3)]
            assert wrong == ["PROOF_WRONG", "PROOF_WRONG", "LINK_INVALID"]
            assert await refused(ada.complete(second.challenge_token, totp_code=app.wrong())) == "PROOF_WRONG"
            assert await refused(ada.complete(second.challenge_token, totp_code=app.code())) == "RATE_LIMITED"


async def test_what_expired_is_removed(place: Place, rows: asyncpg.Connection) -> None:
    with place.running(CHALLENGE_S=1, FACTOR_SETUP_S=1, CHALLENGE_PURGE_S=0.1) as service:
        async with people_of(service) as people:
            ada = await people()
            await ada("BeginTotp")
            await ada("BeginPasskeyProof", token="")
            waiting = "SELECT count(*) FROM challenges WHERE user_id = $1 OR user_id IS NULL"
            async with asyncio.timeout(PATIENCE_S):
                while await rows.fetchval(waiting, ada.user.user_id):
                    await asyncio.sleep(0.05)


async def test_a_new_key_takes_over_from_the_old_one(place: Place, rows: asyncpg.Connection) -> None:
    with place.running() as service:
        async with people_of(service) as people:
            ada = await people()
            app, _ = await ada.set_up_app()
            sealed = "SELECT secret, factor_id FROM factors WHERE user_id = $1"
            before = await rows.fetchrow(sealed, ada.user.user_id)
            assert before is not None
    with place.running(FACTOR_SECRET=WRITTEN) as service:
        async with people_of(service) as people:
            somebody = await people()
            somebody.user = ada.user
            challenge = await somebody.challenge()
            session = await somebody.complete(challenge.challenge_token, totp_code=app.code())
            after = await rows.fetchrow(sealed, ada.user.user_id)
            assert after is not None
            assert after["secret"] != before["secret"]
            kept = Sealer([KEY]).open(bytes(after["secret"]), str(after["factor_id"]), ada.user.user_id)
            assert bytes.fromhex(kept) == app.secret
            assert (await somebody("ListFactors", pb.ListFactorsRequest(), token=session.access_token)).factors
