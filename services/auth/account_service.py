"""The gRPC face of accounts: each method hands on to the file that is about it."""

from __future__ import annotations

from typing import Any

from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from promptmesh.auth.v1 import accounts_pb2 as pb
from promptmesh.auth.v1 import accounts_pb2_grpc as pb_grpc
from promptmesh.auth.v1 import auth_pb2

from services.auth.accounts.emails import Emails
from services.auth.accounts.new_passwords import NewPasswords
from services.auth.accounts.profile import Profile
from services.auth.session_list import SessionList
from services.auth.session_service import SessionMethods
from services.mesh.call import current


class Accounts(SessionMethods, pb_grpc.AccountServiceServicer):
    """AccountService."""

    def __init__(
        self, emails: Emails, new_passwords: NewPasswords, profile: Profile, session_list: SessionList
    ) -> None:
        super().__init__(session_list)
        self._emails, self._passwords, self._profile = emails, new_passwords, profile

    async def SendVerification(self, request: pb.SendVerificationRequest, context: Any) -> empty_pb2.Empty:
        await self._emails.send_verification(current().caller)
        return empty_pb2.Empty()

    async def VerifyEmail(self, request: pb.VerifyEmailRequest, context: Any) -> empty_pb2.Empty:
        await self._emails.verify(request)
        return empty_pb2.Empty()

    async def RequestPasswordReset(self, request: pb.RequestPasswordResetRequest, context: Any) -> empty_pb2.Empty:
        await self._passwords.ask_for_link(request)
        return empty_pb2.Empty()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Any) -> pb.ResetPasswordResponse:
        return await self._passwords.reset(request)

    async def UpdateMe(self, request: pb.UpdateMeRequest, context: Any) -> auth_pb2.User:
        return await self._profile.update(current().caller, request)

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Any) -> empty_pb2.Empty:
        await self._passwords.change(current().caller, request)
        return empty_pb2.Empty()

    async def RequestEmailChange(self, request: pb.RequestEmailChangeRequest, context: Any) -> empty_pb2.Empty:
        await self._emails.ask_for_change(current().caller, request)
        return empty_pb2.Empty()

    async def ConfirmEmailChange(self, request: pb.ConfirmEmailChangeRequest, context: Any) -> auth_pb2.User:
        return await self._emails.confirm_change(current().caller, request)

    async def ExportMe(self, request: pb.ExportMeRequest, context: Any) -> httpbody_pb2.HttpBody:
        return await self._profile.export(current().caller)

    async def DeleteMe(self, request: pb.DeleteMeRequest, context: Any) -> empty_pb2.Empty:
        await self._profile.delete(current().caller)
        return empty_pb2.Empty()
