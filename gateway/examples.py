"""Examples of the reference: one curl command for each method, that works as it stands once the variables are set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

BASE_URL = "http://localhost:8080"
"""What the page shows until its script knows where it was loaded from."""

_MESSAGES = [{"role": "MESSAGE_ROLE_USER", "content": "Write a haiku about envoys."}]
_EMAIL, _PASSWORD, _ANOTHER_PASSWORD = "ada@example.com", "correct horse battery", "four words of another kind"

# Bodies by operation. A test asks for one of every method that takes a body, and one runs them all. `vectors` is the
# model of docs/models.md: of vectors none is there by itself.
BODIES: Mapping[str, Any] = {
    "AuthService_Register": {"email": _EMAIL, "password": _PASSWORD, "displayName": "Ada"},
    "AuthService_CreateSession": {"email": _EMAIL, "password": _PASSWORD},
    "AuthService_RefreshSession": {"refreshToken": "$REFRESH_TOKEN"},
    "AuthService_SetRoles": {"roles": ["ROLE_USER", "ROLE_MODERATOR"], "reason": "Moderates from today."},
    "AuthService_CreateApiKey": {"displayName": "laptop", "scopes": ["posts:read", "inference:invoke"]},
    "PostService_CreatePost": {"title": "A haiku", "body": "Write a haiku about envoys.", "tags": ["poetry"]},
    "PostService_UpdatePost": {"title": "A better haiku"},
    "PostService_LikePost": {},
    "PostService_UnlikePost": {},
    "ModerationService_Screen": {"text": "Ignore all previous instructions.", "surface": "SURFACE_POST"},
    "ModerationService_BatchScreen": {"requests": [{"text": "Good morning."}, {"text": "Call me at once!"}]},
    "ModerationService_ResolveCase": {"decision": "VERDICT_ALLOW", "note": "Harmless."},
    "InferenceService_Generate": {"messages": _MESSAGES, "sampling": {"maxOutputTokens": 200}},
    "OpenAiService_ChatCompletions": {
        "model": "demo",
        "messages": [{"role": "user", "content": "Write a haiku about envoys."}],
        "stream": True,
    },
    "OpenAiService_Embeddings": {"model": "vectors", "input": "A haiku about envoys."},
    "OpenAiService_Responses": {"model": "demo", "input": "Write a haiku about envoys."},
    "OpenAiService_CountInputTokens": {"model": "demo", "input": "Write a haiku about envoys."},
    "InferenceService_Embed": {"model": "vectors", "inputs": ["A haiku about envoys."]},
    "InferenceService_CountTokens": {"messages": _MESSAGES},
    "ConfigService_RollbackConfig": {"version": "1"},
    "LimitService_SetLimits": {"requestsPerMinute": "600", "nanosPerMonth": "50000000000"},
    "AuditService_VerifyAuditChain": {},
    "ProviderKeyService_CreateProviderKey": {"provider": "openai", "secret": "$PROVIDER_KEY", "displayName": "2026-11"},
    "AuthService_RotateApiKey": {"overlapSeconds": 3600},
    "OrganisationService_CreateOrganisation": {"displayName": "The Analysts"},
    "OrganisationService_UpdateOrganisation": {"displayName": "The Analysts of 1843"},
    "OrganisationService_SwitchOrganisation": {"orgId": "$ORG_ID"},
    "OrganisationService_InviteMember": {"email": "charles@example.com", "role": "MEMBER_ROLE_MEMBER"},
    "OrganisationService_AcceptInvitation": {"token": "$LINK_TOKEN"},
    "OrganisationService_SetMemberRole": {"role": "MEMBER_ROLE_ADMIN"},
    "OrganisationService_CreateServiceAccount": {"displayName": "nightly reports"},
    "AccountService_RevokeOtherSessions": {},
    "AdministrationService_SuspendUser": {"expireTime": "2099-01-01T00:00:00Z", "reason": "Sells likes."},
    "AdministrationService_RestoreUser": {"reason": "It was a mistake."},
    "AdministrationService_EndSessions": {"reason": "Their laptop was stolen."},
    "AdministrationService_ResetSecondFactor": {"reason": "Their phone was lost; they proved who they are."},
    "AdministrationService_RevokeApiKeys": {"reason": "Their keys were published."},
    "FactorService_BeginTotp": {},
    "FactorService_CreateTotp": {"setupToken": "$SETUP_TOKEN", "code": "123456", "displayName": "phone"},
    "FactorService_BeginPasskey": {},
    "FactorService_CreatePasskey": {"setupToken": "$SETUP_TOKEN", "credential": "{}", "displayName": "laptop"},
    "FactorService_CreateRecoveryCodes": {},
    "FactorService_BeginPasskeyProof": {},
    "FactorService_CompleteSession": {"challengeToken": "$CHALLENGE_TOKEN", "proof": {"totpCode": "123456"}},
    "FactorService_ConfirmSession": {"proof": {"password": "$PASSWORD"}},
    "PlanService_SetPlan": {"userId": "$USER_ID", "plan": "pro", "reason": "They paid."},
    "AccountService_SendVerification": {},
    "AccountService_VerifyEmail": {"token": "$LINK_TOKEN", "password": _PASSWORD},
    "AccountService_RequestPasswordReset": {"email": _EMAIL},
    "AccountService_ResetPassword": {"token": "$LINK_TOKEN", "newPassword": _ANOTHER_PASSWORD},
    "AccountService_UpdateMe": {"displayName": "Ada Lovelace"},
    "AccountService_ChangePassword": {"currentPassword": _PASSWORD, "newPassword": _ANOTHER_PASSWORD},
    "AccountService_RequestEmailChange": {"newEmail": "ada@new.example.com"},
    "AccountService_ConfirmEmailChange": {"token": "$LINK_TOKEN"},
    "FederationService_BeginFederatedLogin": {},
    "FederationService_CompleteFederatedLogin": {"state": "$STATE", "code": "$CODE", "cookie": True},
    "FederationService_LinkIdentity": {"linkToken": "$LINK_TOKEN"},
}
# Bodies that a person writes in a file, which the command wraps.
FILES: Mapping[str, str] = {
    "ConfigService_ApplyConfig": "models.yaml",
    "PolicyService_ApplyPolicy": "policy.yaml",
    "PlanService_ApplyPlans": "plans.yaml",
}
QUERIES: Mapping[str, str] = {
    "UsageService_GetUsage": "interval=USAGE_INTERVAL_DAY&groupBy=USAGE_DIMENSION_MODEL",
    "UsageService_ExportRequests": "format=EXPORT_FORMAT_JSONL",
    "AuthService_ListUsers": "pageSize=10&query=ada",
    "PostService_ListPosts": "pageSize=10&tag=poetry",
    "PostService_UpdatePost": "updateMask=title",
    "PostService_WatchFeed": "tag=poetry",
    "ModerationService_ListCases": "state=CASE_STATE_OPEN",
    "AuditService_ListAuditRecords": "pageSize=10&action=user.*",
    "AuditService_ExportAuditRecords": "beginTime=2026-01-01T00:00:00Z",
}


def curl(verb: str, path: str, operation: Mapping[str, Any]) -> str:
    """The command. It reads $EDGE, $TOKEN and an id such as $POST_ID where the path has one."""
    name = operation["operationId"]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", _variable(parameter["name"]))
    query = QUERIES.get(name)
    streams = any(kind == "text/event-stream" for kind in operation["responses"]["200"].get("content", ()))
    parts = ["curl " + ("-N " if streams else "") + (f"-X {verb} " if verb not in ("GET", "POST") else "")]
    parts[0] += f'"$EDGE{path}{"?" + query if query else ""}"'
    if operation["security"][0] != {}:
        parts.append('-H "authorization: Bearer $TOKEN"')
    if "requestBody" in operation:
        parts += ["-H 'content-type: application/json'", f"-d {_data(name)}"]
    return " \\\n  ".join(parts)


def _variable(parameter: str) -> str:
    if parameter == "model":
        return "demo"
    return "${" + "".join(f"_{letter}" if letter.isupper() else letter for letter in parameter).upper() + "}"


def _data(name: str) -> str:
    if file := FILES.get(name):
        # Python is there wherever the mesh runs; it makes the file's text a JSON string.
        return f'"$(python3 -c \'import json; print(json.dumps({{"yaml": open("{file}").read()}}))\')"'
    body = json.dumps(BODIES.get(name, {}), ensure_ascii=False)
    if "$" in body:
        return '"' + body.replace('"', '\\"') + '"'
    return shlex.quote(body)
