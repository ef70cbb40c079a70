"""The rule that joins a method's policy and a caller."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from promptmesh.access.v1.access_pb2 import Audience, Role

from services.mesh.access.policies import Policy
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError

_ROLE_NAMES: dict[int, str] = {number: name.removeprefix("ROLE_").lower() for name, number in Role.items()}


def check_fresh(policy: Policy, caller: Caller, now: float, step_up_s: float) -> None:
    """Raises STEP_UP_REQUIRED where the method wants a proof newer than the caller's.

    now: seconds since the epoch; step_up_s: how old the proof may be.
    """
    if policy.step_up and caller.auth_time + step_up_s < now:
        raise MeshError(
            "STEP_UP_REQUIRED",
            f"This call needs a proof of who you are that is at most {step_up_s:.0f} seconds old. Confirm the session "
            "with ConfirmSession, then repeat the call with the access token that it answers.",
            metadata={"max_age_s": f"{step_up_s:.0f}"},
        )


def check_address(caller: Caller, address: IPv4Address | IPv6Address | None) -> None:
    """Raises ADDRESS_REFUSED where the caller's API key may not be used from the address. None: it is not known."""
    if caller.networks and not any(address in network for network in caller.networks if address is not None):
        raise MeshError(
            "ADDRESS_REFUSED",
            f"This API key may not be used from {address or 'here'}. Its owner set the networks that may.",
        )


def check_policy(policy: Policy, caller: Caller) -> None:
    """Returns if the caller may make the call; raises the MeshError that says why not."""
    audience = policy.audience
    if caller.kind is CallerKind.ANONYMOUS:
        if audience != Audience.AUDIENCE_PUBLIC:
            raise MeshError(
                "CREDENTIAL_MISSING",
                "This call needs a credential. Send `authorization: Bearer <access token>` (from CreateSession) "
                "or `authorization: Bearer pm_…` (an API key).",
            )
        return
    if caller.kind is CallerKind.SERVICE:
        if audience != Audience.AUDIENCE_PUBLIC and not policy.admits_service(caller.service):
            raise MeshError("AUDIENCE_MISMATCH", f"The service {caller.service!r} may not call this method.")
        return
    if audience == Audience.AUDIENCE_SERVICE:
        raise MeshError("AUDIENCE_MISMATCH", "Only services of the mesh may call this method.")
    if audience == Audience.AUDIENCE_SESSION and caller.kind is not CallerKind.SESSION:
        raise MeshError(
            "AUDIENCE_MISMATCH",
            "This method is not for API keys. Log in with CreateSession and send the access token instead.",
        )
    if not policy.scopes <= caller.scopes:
        missing = ", ".join(sorted(policy.scopes - caller.scopes))
        raise MeshError(
            "SCOPE_MISSING",
            f"The credential lacks the scope {missing}. Make an API key that carries it, or use an access token.",
            metadata={"scopes": missing},
        )
    if policy.roles and not policy.roles & caller.roles:
        wanted = " or ".join(sorted(_ROLE_NAMES.get(role, str(role)) for role in policy.roles))
        raise MeshError(
            "ROLE_MISSING", f"This call needs the role {wanted}. An admin can give it.", metadata={"roles": wanted}
        )
