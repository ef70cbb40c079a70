"""Register: a new person, at once, or (where addresses must be proved) as a request that a background job does."""

from __future__ import annotations

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.accounts.parts import Parts, unproved
from services.auth.accounts.requests import AccountRequests, RequestKind
from services.auth.users import normal_email, normal_name
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.errors import MeshError


class Registration:
    """Takes registrations. Raises MeshError for what a caller did wrong."""

    def __init__(self, parts: Parts, requests: AccountRequests) -> None:
        self._parts, self._requests = parts, requests

    async def register(self, request: auth_pb2.RegisterRequest) -> auth_pb2.User:
        """A new person with an organisation of their own. PASSWORD_WEAK, RATE_LIMITED; EMAIL_TAKEN only where
        addresses need no proof: else a taken one gets the same answer, and its owner a mail."""
        email, name = normal_email(request.email), normal_name(request.display_name)
        self._parts.rules.check(request.password, email=email, display_name=name)
        counted = await self._parts.throttle.register()
        async with self._parts.throttle.checking(*counted):
            password_hash = await self._parts.passwords.hash(request.password)
        if self._parts.verification:
            await self._requests.add(RequestKind.REGISTER, email, display_name=name, password_hash=password_hash)
            return unproved(email, name)
        async with self._parts.database.transaction() as conn:
            row = await store.add_user(
                conn,
                self._parts.outbox,
                email=email,
                display_name=name,
                password_hash=password_hash,
                roles=[Role.ROLE_USER],
            )
            if row is None:  # raised inside, so that what was written is rolled back
                raise MeshError(
                    "EMAIL_TAKEN", "Somebody is registered with this email. Log in with CreateSession, or use another."
                )
            await self._parts.mail_verification(conn, row)
            person = Party("user", row["user_id"], name)
            await audit.record(
                conn,
                self._parts.outbox,
                "user.register",
                person,
                actor=person,
                subject_user_id=row["user_id"],
                org_id=row["org_id"],
            )
        return store.user_of(row)
