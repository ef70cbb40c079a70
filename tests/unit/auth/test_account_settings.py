"""What the settings of accounts allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.auth.settings import AuthSettings
from services.mesh.settings import SettingsError, load
from tests.integration.auth.world import key_pem

SECRET = "A" * 43


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "key.pem"
    file.write_bytes(key_pem())
    return {
        "worker": "auth-0",
        "database_url": "postgresql://a:b@localhost/c",
        "redis_url": "redis://localhost",
        "mesh_secret": SECRET,
        "key_pepper": SECRET,
        "auth_signing_key_file": str(file),
    }


def test_proof_of_addresses_needs_mail(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="PROMPTMESH_SMTP_HOST"):
        load(AuthSettings, **given, email_verification="required")
    settings = load(AuthSettings, **given, email_verification="required", smtp_host="mail.example")
    assert settings.account_options.verification


def test_defaults_are_those_of_the_docs(given: dict[str, Any]) -> None:
    options = load(AuthSettings, **given).account_options
    assert not options.verification
    assert (options.smtp.host, options.smtp.port, options.smtp.tls) == ("", 587, "starttls")
    assert (options.verify_link_s, options.reset_link_s, options.confirm_link_s) == (86_400, 1800, 3600)
    throttle = options.throttle
    assert throttle.window_s == 900
    assert throttle.mails_window_s == options.reset_link_s  # so that of the mails sent one link is always good
    assert (throttle.logins_per_account_and_address, throttle.logins_per_account_by_strangers) == (10, 50)
    assert (throttle.logins_per_address, throttle.registrations_per_address) == (200, 50)
    assert (throttle.mail_requests_per_address, throttle.mails_per_recipient, throttle.known_addresses) == (20, 5, 20)


def test_defaults_of_sessions_are_those_of_the_docs(given: dict[str, Any]) -> None:
    settings = load(AuthSettings, **given)
    assert (settings.access_lifetime_s, settings.step_up_s) == (600, 600)
    assert (settings.refresh_lifetime_s, settings.session_lifetime_s) == (14 * 86_400, 30 * 86_400)
    assert (settings.refresh_reuse_s, settings.proof_tries_max) == (10, 5)
    assert settings.sessions_per_user_max == 100


def test_defaults_of_organisations_are_those_of_the_docs(given: dict[str, Any]) -> None:
    limits = load(AuthSettings, **given).organisation_limits
    assert (limits.organisations_max, limits.teams_owned_max) == (50, 10)
    assert (limits.members_max, limits.service_accounts_max) == (1000, 100)
    assert limits.invitation_lifetime_s == 7 * 86_400


@pytest.mark.parametrize(
    "wrong",
    [
        {"smtp_tls": "ssl"},
        {"smtp_port": 0},
        {"reset_link_s": 59},
        {"smtp_timeout_s": 0},
        {"sessions_per_user_max": 0},
        {"sessions_per_user_max": 10_001},
        {"teams_owned_max": -1},
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(SettingsError, match=f"PROMPTMESH_{name.upper()}"):
        load(AuthSettings, **given, **wrong)


def test_the_password_of_the_server_is_not_printed(given: dict[str, Any]) -> None:
    settings = load(AuthSettings, **given, smtp_password="of the mail server")
    assert "of the mail server" not in repr(settings)
    assert "of the mail server" not in repr(settings.account_options)
