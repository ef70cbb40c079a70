"""Second factors through the edge: over REST, with the cookie, and what other services say of a step-up."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from services.auth.factors import totp
from tests.mesh.client import Answer, Client
from tests.mesh.conftest import NewPerson
from tests.mesh.people import PASSWORD, Person
from tests.mesh.test_browser import PROTECTED, at_home, cookie_of, refresh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


class App:
    """An authenticator app that never shows a code twice."""

    def __init__(self, secret: str) -> None:
        self._secret, self._last_step = base64.b32decode(secret), -1

    def code(self) -> str:
        self._last_step = max(self._last_step + 1, totp.step_at(time.time()) - totp.SKEW_STEPS)
        return totp.code_at(self._secret, self._last_step)


def reason_of(answer: Answer) -> str:
    details: list[Any] = answer.json["details"]
    return str(next(one["reason"] for one in details if one["@type"].endswith("ErrorInfo")))


async def set_up(person: Person) -> tuple[App, Any]:
    begun = (await person.ask("POST", "/api/v1/factors:beginTotp", {})).ok()
    app = App(begun["secret"])
    body = {"setupToken": begun["setupToken"], "code": app.code(), "displayName": "Phone"}
    return app, (await person.ask("POST", "/api/v1/factors/totp", body)).ok()


async def begin(client: Client, person: Person) -> str:
    answer = (await client.ask("POST", "/api/v1/sessions", {"email": person.email, "password": PASSWORD})).ok()
    assert not answer.get("accessToken")
    return str(answer["challenge"]["challengeToken"])


async def test_from_set_up_to_log_in_and_out_again(client: Client, new_person: NewPerson) -> None:
    ada = await new_person()
    app, made = await set_up(ada)
    assert len(made["recoveryCodes"]) == 10
    listed = (await ada.ask("GET", "/api/v1/factors")).ok()
    assert [(one["kind"], one["displayName"]) for one in listed["factors"]] == [("FACTOR_KIND_TOTP", "Phone")]
    assert listed["recoveryCodesLeft"] == 10
    assert (await ada.ask("GET", "/api/v1/users/me")).ok()["secondFactor"] is True

    challenge, code = await begin(client, ada), app.code()
    body = {"challengeToken": challenge, "proof": {"totpCode": code}}
    session = (await client.ask("POST", "/api/v1/sessions:complete", body)).ok()
    assert session["user"]["userId"] == ada.user_id
    body["challengeToken"] = await begin(client, ada)
    again = await client.ask("POST", "/api/v1/sessions:complete", body)
    assert (again.status, reason_of(again)) == (401, "PROOF_WRONG")

    path = f"/api/v1/factors/{made['factor']['factorId']}"
    (await ada.ask("DELETE", path)).ok()
    assert (await client.ask("POST", "/api/v1/sessions", {"email": ada.email, "password": PASSWORD})).ok()[
        "accessToken"
    ]


async def test_the_cookie_comes_with_the_second_step_and_to_no_other_site(
    client: Client, new_person: NewPerson
) -> None:
    ada = await new_person()
    app, made = await set_up(ada)
    asked = {"email": ada.email, "password": PASSWORD, "cookie": True}
    first = await client.ask("POST", "/api/v1/sessions", asked, headers=PROTECTED | at_home(client))
    assert "set-cookie" not in first.headers  # nothing is open yet
    token = first.ok()["challenge"]["challengeToken"]
    body = {"challengeToken": token, "proof": {"recoveryCode": made["recoveryCodes"][0]}, "cookie": True}
    for headers in (
        {},
        {"origin": "https://evil.example"},
        PROTECTED | {"sec-fetch-site": "cross-site"},
        PROTECTED | {"origin": "https://evil.example"},
    ):
        refused = await client.ask("POST", "/api/v1/sessions:complete", body, headers=headers)
        assert (refused.status, reason_of(refused)) == (403, "CSRF_REFUSED")
    second = await client.ask("POST", "/api/v1/sessions:complete", body, headers=PROTECTED | at_home(client))
    assert not second.ok().get("refreshToken")
    assert (await refresh(client, cookie_of(second))).ok()["user"]["userId"] == ada.user_id
    assert app.code()


async def test_a_session_is_confirmed(new_person: NewPerson) -> None:
    ada = await new_person()
    app, _ = await set_up(ada)
    path = "/api/v1/sessions/current:confirm"
    wrong = await ada.ask("POST", path, {"proof": {"password": PASSWORD}})
    assert (wrong.status, reason_of(wrong)) == (401, "PROOF_WRONG")
    session = (await ada.ask("POST", path, {"proof": {"totpCode": app.code()}})).ok()
    assert session["accessToken"] != ada.token
    assert not session.get("refreshToken")


async def test_api_keys_set_up_nothing(client: Client, new_person: NewPerson) -> None:
    ada = await new_person()
    key = (await ada.ask("POST", "/api/v1/apiKeys", {"displayName": "x"})).ok()["secret"]
    for path in ("factors:beginTotp", "factors:beginPasskey", "factors/recoveryCodes"):
        answer = await client.ask("POST", f"/api/v1/{path}", {}, token=key)
        assert (answer.status, reason_of(answer)) == (403, "AUDIENCE_MISMATCH")
