"""What the auth service is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from services.auth.accounts.options import AccountOptions
from services.auth.audit.settings import AuditSettings
from services.auth.cookies import RefreshCookie, origin_of
from services.auth.federation.settings import FederationSettings
from services.auth.mail.settings import MailSettings
from services.auth.organisations.organisations import OrganisationLimits
from services.auth.signing import load_signing_keys
from services.auth.throttle import ThrottleOptions
from services.mesh.access.tokens import LIFETIME_S_MAX


def _signing_key_file(path: Path) -> Path:
    # So that a wrong file is named together with all that is wrong in the environment.
    load_signing_keys(path)
    return path


def _origins(value: str) -> str:
    for origin in filter(None, (one.strip() for one in value.split(","))):
        if not origin.startswith(("http://", "https://")) or origin_of(origin) != origin:
            raise ValueError("expected origins separated by commas, for example https://app.example.com")
    return value


class AuthSettings(FederationSettings, AuditSettings, MailSettings):
    """`PROMPTMESH_…` variables of the auth service, beside those of the kit."""

    service: ClassVar[str] = "auth"

    auth_signing_key_file: Annotated[Path, AfterValidator(_signing_key_file)] = Field(
        description="the path of a PEM file with an EC private key on P-256, as from "
        "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, or of a folder of such files (*.pem, the "
        "newest the last by name; a file may hold several keys, the newest last)"
    )

    # Tokens
    access_lifetime_s: int = Field(default=600, ge=1, le=int(LIFETIME_S_MAX))  # of an access token
    # Of a refresh token; a refresh gives a new one, so this is how long a session lasts that is not used.
    refresh_lifetime_s: int = Field(default=14 * 86_400, ge=1)
    # After which a session ends whatever happens. NIST SP 800-63B, section 2.1.3: at most 30 days at AAL1.
    session_lifetime_s: int = Field(default=30 * 86_400, ge=1)
    # A used refresh token is answered as before for so long, and its successor is not replaced: answers get lost, and
    # tabs of a browser ask at once. 0: each is good for one call, whatever happened to the answer.
    refresh_reuse_s: float = Field(default=10.0, ge=0, le=300)
    session_retention_s: int = Field(default=86_400, ge=0)  # how long sessions that are over are kept
    session_purge_s: float = Field(default=300.0, gt=0)  # between two removals of those

    # Open at once; a log-in beyond ends the least recently used one.
    sessions_per_user_max: int = Field(default=100, ge=1, le=10_000)

    # The cookie with a browser's refresh token
    cookie_secure: bool = True  # false only where browsers reach the mesh by http:// on a host that is not localhost
    cookie_origins: Annotated[str, AfterValidator(_origins)] = ""  # beside the mesh's own, separated by commas

    # Passwords: argon2id as OWASP's Password Storage Cheat Sheet has it (19 MiB, 2 passes, 1 lane)
    password_memory_kib: int = Field(default=19_456, ge=8)
    password_passes: int = Field(default=2, ge=1)
    password_lanes: int = Field(default=1, ge=1)
    password_threads: int = Field(default=2, ge=1)  # that hash; the rest of the service goes on beside them
    password_waiting_max: int = Field(default=64, ge=0)  # for a thread; beyond it RATE_LIMITED

    api_keys_max: int = Field(default=100, ge=1)  # of a person, in force at once

    # The feed of identities
    identity_grace_s: int = Field(default=600, ge=1)  # how long services may go on with what they know, auth being away
    identity_heartbeat_s: float = Field(default=5.0, gt=0)
    signing_key_seen_s: float = Field(default=60.0, gt=0)  # how often a process says which key it signs with

    # Organisations
    organisations_max: int = Field(default=50, ge=1)  # of a person, their own included
    teams_owned_max: int = Field(default=10, ge=0)  # of a person; each team has limits of its own
    members_max: int = Field(default=1000, ge=1)  # of an organisation, invitations under way included
    service_accounts_max: int = Field(default=100, ge=0)  # of an organisation
    invitation_lifetime_s: int = Field(default=7 * 86_400, ge=1)
    invitation_purge_s: float = Field(default=3600.0, gt=0)  # between two removals of those that have ended

    # Sessions
    proof_tries_max: int = Field(default=5, ge=1)  # of ConfirmSession without a right one among them; then it ends
    # How long a signing key is published before it signs: longer than services go on without hearing of it.
    signing_key_publish_s: float = Field(default=660.0, ge=0)

    @property
    def organisation_limits(self) -> OrganisationLimits:
        """What these settings allow of organisations."""
        return OrganisationLimits(
            organisations_max=self.organisations_max,
            teams_owned_max=self.teams_owned_max,
            members_max=self.members_max,
            service_accounts_max=self.service_accounts_max,
            invitation_lifetime_s=self.invitation_lifetime_s,
        )

    # Plans
    plans_file: Path | None = None  # applied at the first start; the release's default_plans.yaml where there is none
    plans_poll_s: float = Field(default=0.5, gt=0)  # how often a process looks for plans that another one applied

    @property
    def cookie(self) -> RefreshCookie:
        """The cookie that these settings describe."""
        allowed = [one.strip() for one in self.cookie_origins.split(",") if one.strip()]
        return RefreshCookie(self.cookie_secure, frozenset({origin_of(self.public_url), *allowed}))

    # Accounts (owner: people)

    # "required": an account can be used once its address is proved, and nothing tells whether an address has one
    email_verification: Literal["optional", "required"] = "optional"
    verify_link_s: int = Field(default=86_400, ge=60)  # lifetimes of links
    reset_link_s: int = Field(default=1800, ge=60)
    confirm_link_s: int = Field(default=3600, ge=60)

    # Throttling: how many in a window (services/auth/throttle.py)
    throttle_window_s: int = Field(default=900, ge=1)
    logins_per_account_and_address_max: int = Field(default=10, ge=1)
    logins_per_account_by_strangers_max: int = Field(default=50, ge=1)  # from all addresses it was never used from
    logins_per_address_max: int = Field(default=200, ge=1)  # of all accounts; a school may have one address
    proofs_per_session_max: int = Field(default=10, ge=1)  # of the present password
    # Proofs of a session (passwords, codes) that were wrong, in a window of their own; the last one ends it.
    wrong_proofs_max: int = Field(default=10, ge=1)
    wrong_proofs_window_s: int = Field(default=3600, ge=1)
    second_factors_per_address_max: int = Field(default=200, ge=1)  # proofs that are to end a log-in; right ones do not
    passkey_proofs_per_address_max: int = Field(default=1000, ge=1)  # begun without a session; a page may begin one
    registrations_per_address_max: int = Field(default=50, ge=1)
    mail_requests_per_address_max: int = Field(default=20, ge=1)
    mails_per_recipient_max: int = Field(default=5, ge=1)  # of one kind, in the lifetime of a link for a new password
    password_changes_max: int = Field(default=10, ge=1)  # of a person, right ones too: each is told by mail
    password_changes_window_s: int = Field(default=3600, ge=1)
    # Invitations, in a window of their own
    invitations_max: int = Field(default=100, ge=1)  # from an organisation, and by a person in all
    invitations_per_address_max: int = Field(default=200, ge=1)  # by whoever is there; a firm may have one address
    invitations_per_recipient_max: int = Field(default=10, ge=1)  # from an organisation to an address
    # To an address, whoever sends them: many, or a stranger would keep others from inviting it.
    invitations_per_recipient_in_all_max: int = Field(default=100, ge=1)
    invitations_window_s: int = Field(default=86_400, ge=1)
    known_addresses_max: int = Field(default=20, ge=1)  # of a person, that strangers' tries do not count for

    @model_validator(mode="after")
    def _mail_can_be_sent(self) -> Self:
        if self.email_verification == "required" and not self.smtp_host:
            raise ValueError(
                "PROMPTMESH_EMAIL_VERIFICATION is required, so mails have to be sent: set PROMPTMESH_SMTP_HOST"
            )
        return self

    @property
    def account_options(self) -> AccountOptions:
        """What the accounts' parts are told."""
        return AccountOptions(
            smtp=self.smtp,
            sending=self.sending,
            sends_here=self.mail_sender == "here",
            throttle=ThrottleOptions(
                window_s=self.throttle_window_s,
                logins_per_address=self.logins_per_address_max,
                logins_per_account_and_address=self.logins_per_account_and_address_max,
                logins_per_account_by_strangers=self.logins_per_account_by_strangers_max,
                proofs_per_session=self.proofs_per_session_max,
                wrong_proofs=self.wrong_proofs_max,
                wrong_proofs_window_s=self.wrong_proofs_window_s,
                second_factors_per_address=self.second_factors_per_address_max,
                passkey_proofs_per_address=self.passkey_proofs_per_address_max,
                invitations=self.invitations_max,
                invitations_per_address=self.invitations_per_address_max,
                invitations_per_recipient_in_all=self.invitations_per_recipient_in_all_max,
                invitations_per_recipient=self.invitations_per_recipient_max,
                invitations_window_s=self.invitations_window_s,
                registrations_per_address=self.registrations_per_address_max,
                mail_requests_per_address=self.mail_requests_per_address_max,
                mails_per_recipient=self.mails_per_recipient_max,
                mails_window_s=self.reset_link_s,
                password_changes=self.password_changes_max,
                password_changes_window_s=self.password_changes_window_s,
                known_addresses=self.known_addresses_max,
            ),
            verification=self.email_verification == "required",
            verify_link_s=self.verify_link_s,
            reset_link_s=self.reset_link_s,
            confirm_link_s=self.confirm_link_s,
        )
