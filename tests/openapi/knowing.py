"""What a caller puts into a request who knows the mesh, and not only its document: names of what is there."""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.mesh.upstreams import VECTORS
from tests.openapi.conftest import PASSWORD, There

_NOT_TAKEN_AWAY = ("PostService_DeletePost",)
_REASONABLE_TIME = "2026-01-01T00:00:00Z"
_PHRASE = "Otters mend a violet kettle; "
_FAR_TIME = "2099-01-01T00:00:00Z"


def name_what_is_there(case: schemathesis.Case, there: There) -> None:
    """Changes a request that is as the document has it, so that it is not refused for a name alone."""
    operation = case.operation.definition.raw["operationId"]
    path, query = case.path_parameters, case.query
    body = case.body if isinstance(case.body, dict) else {}
    if "postId" in path and operation not in _NOT_TAKEN_AWAY:
        path["postId"] = there.post_id
    if "userId" in path:
        path["userId"] = there.user_id
    if operation in ("OpenAiService_Embeddings", "InferenceService_Embed"):
        body["model"] = VECTORS
    elif "model" in body:
        body["model"] = ""
    if operation == "ProviderKeyService_CreateProviderKey":
        body["provider"] = "calls"
    if operation == "ConfigService_ApplyConfig":
        body["yaml"] = there.models
    if operation == "PlanService_ApplyPlans":
        body["yaml"] = there.plans
    if operation == "AuthService_Register":
        body["password"] = _hard_to_guess(len(body["password"]))
    if operation == "AccountService_ChangePassword":
        body["currentPassword"], body["newPassword"] = PASSWORD, _hard_to_guess(len(body["newPassword"]))
    if "allowedNetworks" in body:
        body["allowedNetworks"] = [f"10.{number}.0.0/16" for number in range(len(body["allowedNetworks"]))]
    if "expireTime" in body:
        body["expireTime"] = _FAR_TIME
    if isinstance(body.get("tool_choice"), dict) and operation.startswith("OpenAiService_"):
        body["tool_choice"] = "auto"
    if operation == "PostService_UpdatePost":
        body["title"] = body.get("title") or "A title"
        body["etag"] = ""
    _query(query, "displayName" if operation == "AccountService_UpdateMe" else "title")


def _hard_to_guess(length: int) -> str:
    """A password as long as the one that was made up, so that its limits are still walked."""
    return (_PHRASE * (length // len(_PHRASE) + 1))[:length]


def _query(query: dict[str, Any], changes: str) -> None:
    if "updateMask" in query:
        query["updateMask"] = changes
    if "pageToken" in query:
        query["pageToken"] = ""
    for name, value in (("beginTime", _REASONABLE_TIME), ("endTime", _FAR_TIME)):
        for key in (name, f"filter.{name}"):
            if key in query:
                query[key] = value
    if query.get("tagKey"):
        query["groupBy"] = ["USAGE_DIMENSION_TAG"]
    if "after" in query:
        query["after"] = "0"
