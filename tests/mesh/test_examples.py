"""The commands of the reference, run by a shell as a reader would run them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway import contracts, examples, openapi
from services.auth.plans import parsing
from services.local.testing import LocalMesh
from tests.mesh.calls import customer
from tests.mesh.conftest import NewPerson
from tests.mesh.mails import prove_address
from tests.mesh.people import DOUBTFUL, Person, cases_of, log_in

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SECONDS_MAX = 60
WATCH_SECONDS = 1  # a watch has no end: it is left
_TIMED_OUT = 28  # curl's exit code
#: What is refused here, and why it would not be elsewhere: (status, reason or code).
REFUSED = {
    "AuthService_Register": (409, "EMAIL_TAKEN"),  # Ada is there already, for the others
    **dict.fromkeys(
        ("OrganisationService_SetMemberRole", "OrganisationService_RemoveMember"), (404, "MEMBER_NOT_FOUND")
    ),  # nobody has joined: that takes a mail
    "OrganisationService_AcceptInvitation": (400, "LINK_INVALID"),
    **dict.fromkeys(
        ("FactorService_CreateTotp", "FactorService_CreatePasskey", "FactorService_CompleteSession"),
        (400, "LINK_INVALID"),
    ),  # nothing of the kind was begun: it takes an app or a browser
    **dict.fromkeys(
        ("FactorService_CreateRecoveryCodes", "FactorService_DeleteFactor"), (404, "FACTOR_NOT_FOUND")
    ),  # the admin has none
    # Log-ins elsewhere are for pages of the mesh, and none was begun
    **dict.fromkeys(
        ("FederationService_BeginFederatedLogin", "FederationService_CompleteFederatedLogin"), (403, "CSRF_REFUSED")
    ),
    "FederationService_LinkIdentity": (400, "LINK_INVALID"),
    "FederationService_UnlinkIdentity": (404, "IDENTITY_PROVIDER_NOT_FOUND"),
    # The link of a mail, and the password of Ada, which the caller has not
    "AccountService_VerifyEmail": (400, "LINK_INVALID"),
    "AccountService_ResetPassword": (400, "LINK_INVALID"),
    "AccountService_ConfirmEmailChange": (400, "LINK_INVALID"),
    "AccountService_ChangePassword": (401, "PROOF_WRONG"),
    "ProviderKeyService_CreateProviderKey": (400, "INVALID_FIELD"),  # there is no provider `openai`
}
_STATUS = "\n%{http_code}"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = openapi.document(contracts.load(with_comments=True))
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield verb.upper(), path, operation


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def variables(
    mesh: LocalMesh, admin: Person, new_person: NewPerson, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, str]]:
    """What the commands read from their environment: an admin who owns one of everything."""
    owner = await new_person()
    held = (await owner.post(DOUBTFUL))["postId"]
    await owner.settled(held, "HELD")
    (case, *_) = await cases_of(admin, held)
    post = await admin.post()
    await admin.settled(post["postId"], "PUBLISHED")
    caller = await customer(owner)
    called = await caller.chat()
    await caller.receipt(called.headers["x-promptmesh-record-id"])
    spare = (await admin.ask("POST", "/api/v1/apiKeys", {"displayName": "spare"})).ok()
    key = {"provider": "examples", "secret": "sk-of-an-example"}
    provider_key = (await admin.ask("POST", "/api/v1/providerKeys", key)).ok()
    leaving, founder = await new_person(), await new_person()
    await prove_address(mesh, founder)
    org = (await founder.ask("POST", "/api/v1/organisations", {"displayName": "Examples"})).ok()
    accounts = f"/api/v1/organisations/{org['orgId']}/serviceAccounts"
    account = (await founder.ask("POST", accounts, {"displayName": "bot"})).ok()
    invited = {"email": "mary@example.com", "role": "MEMBER_ROLE_MEMBER"}
    invitation = (await founder.ask("POST", f"/api/v1/organisations/{org['orgId']}/invitations", invited)).ok()
    await log_in(admin.client, mesh.admin_email, mesh.admin_password)
    newest = (await admin.ask("GET", "/api/v1/sessions?pageSize=1")).ok()["sessions"][0]
    ada = examples.BODIES["AuthService_Register"]
    assert (await admin.client.ask("POST", "/api/v1/users", ada)).status in (200, 409)
    yield {
        "EDGE": mesh.url,
        "TOKEN": admin.token,
        "LEAVING_TOKEN": leaving.token,
        "FOUNDING_TOKEN": founder.token,
        "ORG_ID": org["orgId"],
        "INVITATION_ID": invitation["invitationId"],
        "SERVICE_ACCOUNT_ID": account["serviceAccountId"],
        "LINK_TOKEN": "pml_none",
        "STATE": "none",
        "CODE": "none",
        "PROVIDER": "acme",
        "IDENTITY_ID": str(uuid.uuid4()),
        "ENDING_TOKEN": (await new_person()).token,
        "REFRESH_TOKEN": leaving.refresh_token,
        "POST_ID": post["postId"],
        "AUTHOR_ID": admin.user_id,
        "CASE_ID": case["caseId"],
        "USER_ID": owner.user_id,
        "API_KEY_ID": spare["apiKey"]["apiKeyId"],
        "SETUP_TOKEN": "pmc_none",
        "CHALLENGE_TOKEN": "pmc_none",
        "PASSWORD": mesh.admin_password,
        "FACTOR_ID": str(uuid.uuid4()),
        "PROVIDER_KEY_ID": provider_key["providerKeyId"],
        "PROVIDER_KEY": "sk-something-else",
        "ID": called.headers["x-promptmesh-record-id"],
        "KIND": "LIMIT_KIND_USER",
        "SUBJECT_ID": str(uuid.uuid4()),
        "SESSION_ID": newest["sessionId"],
    }
    # With a wrong key left behind the tests that come later would get no answers; it is gone where the commands ran.
    await admin.ask("DELETE", f"/api/v1/providerKeys/{provider_key['providerKeyId']}")


#: What takes something away comes last, and first of it what a later one could miss.
_LAST = (
    *("LimitService_DeleteLimits", "PostService_DeletePost", "AuthService_RevokeApiKey", "AuthService_DeleteSession"),
    *("OrganisationService_DeleteServiceAccount", "OrganisationService_DeleteOrganisation"),
)

#: What would end the caller of all others, or their sessions, is done by somebody whom nobody needs.
_OTHERS_TOKENS = {
    "AuthService_DeleteSession": "LEAVING_TOKEN",
    "AccountService_RevokeOtherSessions": "LEAVING_TOKEN",
    "AccountService_DeleteMe": "ENDING_TOKEN",
}


async def test_every_command_of_the_reference_does_what_it_says(
    variables: dict[str, str], admin: Person, tmp_path: Path
) -> None:
    for name, path in (("models.yaml", "/api/v1/config"), ("policy.yaml", "/api/v1/moderation/policy")):
        (tmp_path / name).write_text((await admin.ask("GET", path)).ok()["yaml"])
    (tmp_path / "plans.yaml").write_text(parsing.default_text())
    wrong = {}
    for verb, path, operation in sorted(operations(), key=lambda one: _place(one[2]["operationId"])):
        name = operation["operationId"]
        bearer = _OTHERS_TOKENS.get(name, "TOKEN")
        bearer = "FOUNDING_TOKEN" if name.startswith("OrganisationService_") else bearer
        environment = variables | {"TOKEN": variables[bearer]}
        said = await ran(examples.curl(verb, path, operation), environment, tmp_path, endless="atch" in name)
        status, reason = REFUSED.get(name, (200, ""))
        if said[0] != status or (reason and reason not in said[1]):
            wrong[name] = said
    assert wrong == {}


def _place(name: str) -> int:
    return _LAST.index(name) + 1 if name in _LAST else 0


async def ran(command: str, variables: dict[str, str], folder: Path, *, endless: bool) -> tuple[int, str]:
    """Status and body of what a command asks for."""
    most_s = WATCH_SECONDS if endless else SECONDS_MAX
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command.replace("curl ", f"curl -sS -m {most_s} -w '{_STATUS}' ", 1)),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await process.communicate()
    assert process.returncode in (0, *([_TIMED_OUT] if endless else [])), (command, complaint)
    body, _, status = out.decode().rpartition("\n")
    return int(status), body
