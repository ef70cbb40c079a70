"""OrganisationService: each method hands on to the file that is about it."""

from __future__ import annotations

from typing import Any

from google.protobuf import empty_pb2
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import organisations_pb2 as pb
from promptmesh.auth.v1 import organisations_pb2_grpc as pb_grpc

from services.auth.organisations.invitations import Invitations
from services.auth.organisations.members import Members
from services.auth.organisations.organisations import Organisations
from services.auth.organisations.service_accounts import ServiceAccounts
from services.mesh.call import current


class OrganisationFace(pb_grpc.OrganisationServiceServicer):
    """OrganisationService."""

    def __init__(
        self, organisations: Organisations, members: Members, invitations: Invitations, accounts: ServiceAccounts
    ) -> None:
        self._organisations, self._members, self._invitations = organisations, members, invitations
        self._accounts = accounts

    async def CreateOrganisation(self, request: pb.CreateOrganisationRequest, context: Any) -> pb.Organisation:
        return await self._organisations.create(current().caller, request)

    async def ListOrganisations(
        self, request: pb.ListOrganisationsRequest, context: Any
    ) -> pb.ListOrganisationsResponse:
        return await self._organisations.list(current().caller)

    async def GetOrganisation(self, request: pb.GetOrganisationRequest, context: Any) -> pb.Organisation:
        return await self._organisations.get(current().caller, request)

    async def UpdateOrganisation(self, request: pb.UpdateOrganisationRequest, context: Any) -> pb.Organisation:
        return await self._organisations.update(current().caller, request)

    async def DeleteOrganisation(self, request: pb.DeleteOrganisationRequest, context: Any) -> empty_pb2.Empty:
        await self._organisations.delete(current().caller, request)
        return empty_pb2.Empty()

    async def SwitchOrganisation(self, request: pb.SwitchOrganisationRequest, context: Any) -> auth_pb2.Session:
        return await self._organisations.switch(current().caller, request)

    async def ListMembers(self, request: pb.ListMembersRequest, context: Any) -> pb.ListMembersResponse:
        return await self._members.list(current().caller, request)

    async def InviteMember(self, request: pb.InviteMemberRequest, context: Any) -> pb.Invitation:
        return await self._invitations.invite(current().caller, request)

    async def ListInvitations(self, request: pb.ListInvitationsRequest, context: Any) -> pb.ListInvitationsResponse:
        return await self._invitations.list(current().caller, request)

    async def RevokeInvitation(self, request: pb.RevokeInvitationRequest, context: Any) -> empty_pb2.Empty:
        await self._invitations.revoke(current().caller, request)
        return empty_pb2.Empty()

    async def AcceptInvitation(self, request: pb.AcceptInvitationRequest, context: Any) -> pb.Organisation:
        return await self._invitations.accept(current().caller, request)

    async def SetMemberRole(self, request: pb.SetMemberRoleRequest, context: Any) -> pb.Member:
        return await self._members.set_role(current().caller, request)

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: Any) -> empty_pb2.Empty:
        await self._members.remove(current().caller, request)
        return empty_pb2.Empty()

    async def CreateServiceAccount(self, request: pb.CreateServiceAccountRequest, context: Any) -> pb.ServiceAccount:
        return await self._accounts.create(current().caller, request)

    async def ListServiceAccounts(
        self, request: pb.ListServiceAccountsRequest, context: Any
    ) -> pb.ListServiceAccountsResponse:
        return await self._accounts.list(current().caller, request)

    async def DeleteServiceAccount(self, request: pb.DeleteServiceAccountRequest, context: Any) -> empty_pb2.Empty:
        await self._accounts.delete(current().caller, request)
        return empty_pb2.Empty()
