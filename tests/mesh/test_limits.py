"""Every limit on size, length, count and range in the contracts, at the bound and beyond it, in JSON and in gRPC."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from promptmesh.auth.v1 import accounts_pb2, factors_pb2
from promptmesh.inference.v1 import inference_pb2, limits_pb2, usage_pb2
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import posts_pb2

from gateway.contracts import Method
from tests.mesh.client import Client
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import Fault
from tests.mesh.people import CLEAN, PASSWORD, Person
from tests.mesh.rules import RuledField, Value, new_message, ruled_fields
from tests.mesh.upstreams import MODEL, VECTORS
from tests.mesh.wire import NotSayableError, json_name, open_methods, refused_by_grpc, refused_by_rest

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

CONTRACT_RULE = re.compile(r"\.|required")  # `string.max_len`
NOWHERE = "00000000-0000-7000-8000-000000000007"  # an id that nothing has
_HELLO = inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_USER, content="Hello.")
#: Without a word of its own, as an answer that calls tools may be: it can take parts, tools and a content.
_ANSWER = inference_pb2.Message(role=inference_pb2.MESSAGE_ROLE_ASSISTANT)
#: A request that keeps all rules, of each method whose requests have any; the cases are made from it.
BASES: Mapping[str, Mapping[str, Any]] = {
    "AuthService.Register": {"email": "limits@example.com", "password": PASSWORD, "display_name": "Limits"},
    "AuthService.CreateSession": {"email": "limits@example.com", "password": PASSWORD},
    "AuthService.RefreshSession": {"refresh_token": "pmr_none"},
    "AuthService.ListUsers": {},
    "AuthService.SetRoles": {"user_id": NOWHERE, "roles": [1]},
    "AuthService.CreateApiKey": {"display_name": "limits"},
    "AuthService.ListApiKeys": {},
    "AuthService.RevokeApiKey": {"api_key_id": NOWHERE},
    "AuthService.RotateApiKey": {"api_key_id": NOWHERE},
    "OrganisationService.CreateOrganisation": {"display_name": "limits"},
    "OrganisationService.GetOrganisation": {"org_id": NOWHERE},
    "OrganisationService.UpdateOrganisation": {"org_id": NOWHERE, "display_name": "limits"},
    "OrganisationService.DeleteOrganisation": {"org_id": NOWHERE},
    "OrganisationService.SwitchOrganisation": {"org_id": NOWHERE},
    "OrganisationService.ListMembers": {"org_id": NOWHERE},
    "OrganisationService.InviteMember": {"org_id": NOWHERE, "email": "limits@example.com", "role": 3},
    "OrganisationService.AcceptInvitation": {"token": "pml_none"},
    "OrganisationService.SetMemberRole": {"org_id": NOWHERE, "user_id": NOWHERE, "role": 3},
    "OrganisationService.ListInvitations": {"org_id": NOWHERE},
    "OrganisationService.RevokeInvitation": {"org_id": NOWHERE, "invitation_id": NOWHERE},
    "OrganisationService.RemoveMember": {"org_id": NOWHERE, "user_id": NOWHERE},
    "OrganisationService.CreateServiceAccount": {"org_id": NOWHERE, "display_name": "limits"},
    "OrganisationService.ListServiceAccounts": {"org_id": NOWHERE},
    "OrganisationService.DeleteServiceAccount": {"org_id": NOWHERE, "service_account_id": NOWHERE},
    "PostService.CreatePost": {"title": "Limits", "body": CLEAN},
    "PostService.GetPost": {"post_id": NOWHERE},
    "PostService.ListPosts": {},
    "PostService.UpdatePost": {
        "post": posts_pb2.Post(post_id=NOWHERE, title="Limits"),
        "update_mask": FieldMask(paths=["title"]),
    },
    "PostService.DeletePost": {"post_id": NOWHERE},
    "PostService.LikePost": {"post_id": NOWHERE},
    "PostService.UnlikePost": {"post_id": NOWHERE},
    "PostService.WatchPost": {"post_id": NOWHERE},
    "PostService.WatchFeed": {},
    "PostService.GetAuthor": {"author_id": NOWHERE},
    "ModerationService.Screen": {"text": CLEAN},
    "ModerationService.BatchScreen": {"requests": [moderation_pb2.ScreenRequest(text=CLEAN)]},
    "ModerationService.ListCases": {},
    "ModerationService.GetCase": {"case_id": NOWHERE},
    "ModerationService.ResolveCase": {"case_id": NOWHERE, "decision": moderation_pb2.VERDICT_ALLOW},
    "PolicyService.ApplyPolicy": {"yaml": "# none", "validate_only": True},
    "InferenceService.Generate": {"model": MODEL, "messages": [_ANSWER, _HELLO]},
    "InferenceService.Embed": {"model": VECTORS, "inputs": ["Hello."]},
    "InferenceService.CountTokens": {"model": MODEL, "messages": [_ANSWER, _HELLO]},
    "InferenceService.ListModels": {},
    "ConfigService.ApplyConfig": {"yaml": "# none", "validate_only": True},
    "ConfigService.ListConfigVersions": {},
    "ConfigService.RollbackConfig": {"version": 1_000_000},
    "LimitService.SetLimits": {
        "limits": limits_pb2.Limits(kind=limits_pb2.LIMIT_KIND_USER, subject_id=NOWHERE, requests_per_day=1)
    },
    "LimitService.DeleteLimits": {"kind": limits_pb2.LIMIT_KIND_USER, "subject_id": NOWHERE},
    "LimitService.ListLimits": {},
    "UsageService.GetUsage": {"group_by": [usage_pb2.USAGE_DIMENSION_TAG], "tag_key": "team"},
    "UsageService.ListRequests": {},
    "UsageService.GetRequest": {"id": NOWHERE},
    "UsageService.ExportRequests": {},
    "ProviderKeyService.CreateProviderKey": {"provider": "nobody", "secret": "sk-nothing"},
    "ProviderKeyService.ListProviderKeys": {},
    "ProviderKeyService.DeleteProviderKey": {"provider_key_id": NOWHERE},
    "AccountService.ListSessions": {},
    "AccountService.RevokeSession": {"session_id": NOWHERE},
    "AdministrationService.GetUser": {"user_id": NOWHERE},
    "AdministrationService.SuspendUser": {
        "user_id": NOWHERE,
        "expire_time": Timestamp(seconds=4_102_444_800),
        "reason": "Limits.",
    },
    "AdministrationService.RestoreUser": {"user_id": NOWHERE, "reason": "Limits."},
    "AdministrationService.EndSessions": {"user_id": NOWHERE, "reason": "Limits."},
    "AdministrationService.ResetSecondFactor": {"user_id": NOWHERE, "reason": "Limits."},
    "AdministrationService.RevokeApiKeys": {"user_id": NOWHERE, "reason": "Limits."},
    "FactorService.CreateTotp": {"setup_token": "pmc_none", "code": "123456"},
    "FactorService.CreatePasskey": {"setup_token": "pmc_none", "credential": "{}"},
    "FactorService.DeleteFactor": {"factor_id": NOWHERE},
    "FactorService.CompleteSession": {"challenge_token": "pmc_none", "proof": factors_pb2.Proof(totp_code="123456")},
    "FactorService.ConfirmSession": {"proof": factors_pb2.Proof(totp_code="123456")},
    "PlanService.ApplyPlans": {"yaml": "# none", "validate_only": True},
    "PlanService.SetPlan": {"user_id": NOWHERE, "reason": "A test."},
    "AccountService.VerifyEmail": {"token": "pml_none", "password": PASSWORD},
    "AccountService.RequestPasswordReset": {"email": "limits@example.com"},
    "AccountService.ResetPassword": {"token": "pml_none", "new_password": PASSWORD},
    "AccountService.UpdateMe": {"user": accounts_pb2.ProfileChange(display_name="Limits")},
    "AccountService.ChangePassword": {"current_password": "not the password", "new_password": PASSWORD},
    "AccountService.RequestEmailChange": {"new_email": "limits-new@example.com"},
    "AccountService.ConfirmEmailChange": {"token": "pml_none"},
    "FederationService.BeginFederatedLogin": {"provider": "acme"},
    "FederationService.CompleteFederatedLogin": {"state": "none"},
    "FederationService.LinkIdentity": {"link_token": "pmi_none"},
    "FederationService.UnlinkIdentity": {"identity_id": NOWHERE},
    "AuditService.ListAuditRecords": {},
    "AuditService.VerifyAuditChain": {},
}


def short_name(method: Method) -> str:
    return f"{method.service.rpartition('.')[2]}.{method.name}"


def base_of(method: Method) -> Message:
    return new_message(method.input_type, **BASES[short_name(method)])


def ruled() -> Iterator[tuple[Method, RuledField]]:
    """Every field of every method, but one that takes megabytes only once, by the first method that has it."""
    seen: set[str] = set()
    for method in open_methods():
        for field in ruled_fields(method.input_type):
            name = field.path[-1].full_name
            if not field.large or name not in seen:
                seen.add(name)
                yield method, field


RULED = [pytest.param(method, field, id=f"{short_name(method)}-{field.name}") for method, field in ruled()]


async def test_every_method_with_rules_is_tried() -> None:
    ruled = {short_name(method) for method in open_methods() if ruled_fields(method.input_type)}

    assert ruled == set(BASES)


@pytest.mark.parametrize(("method", "field"), RULED)
async def test_in_grpc(
    admin: Person, new_person: NewPerson, channel: grpc.aio.Channel, method: Method, field: RuledField
) -> None:
    for value in field.values(base_of(method)):
        token = (await asker(method, admin, new_person)).token
        _check(value, await refused_by_grpc(channel, method, value.message, token))


@pytest.mark.parametrize(("method", "field"), RULED)
async def test_in_json(admin: Person, new_person: NewPerson, client: Client, method: Method, field: RuledField) -> None:
    for value in field.values(base_of(method)):
        token = (await asker(method, admin, new_person)).token
        try:
            fault = await refused_by_rest(client, method, value.message, token)
        except NotSayableError:
            continue
        _check(value, fault)


async def asker(method: Method, admin: Person, new_person: NewPerson) -> Person:
    """Who makes the call: the admin, but where some wrong proofs end the session of whoever makes them."""
    return await new_person() if short_name(method) == "FactorService.ConfirmSession" else admin


def _check(value: Value, fault: Fault | None) -> None:
    if not value.refused:
        # What a service knows beyond the contract it may well refuse, but not by a rule of the contract.
        rule = fault.rules.get(value.path, "") if fault is not None and fault.reason == "INVALID_FIELD" else ""
        assert not CONTRACT_RULE.search(rule), f"{value.what}: {fault}"
        return
    assert fault is not None, f"{value.what} was taken"
    assert fault.brief == ("INVALID_ARGUMENT", "INVALID_FIELD"), f"{value.what}: {fault}"
    if not fault.fields:  # refused by the edge already: what is no value of an enum is none of a query's
        named = ".".join(json_name(part) for part in value.path.removesuffix("[0]").split("."))
        assert fault.message.startswith(f"{named} cannot be "), f"{value.what}: {fault}"
        return
    assert value.path in fault.fields, f"{value.what}: {fault}"
    said = fault.fields[value.path]
    # Of a text that must not be empty it is said that it is required, not that it needs a character.
    expected = {value.said, "is required"} if value.said == "1" else {value.said}
    assert any(one in said or one in said.replace(",", "") for one in expected), f"{value.what}: {fault}"
