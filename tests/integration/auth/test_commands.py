"""bootstrap-admin, reset-password, and what stops the service from starting."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from promptmesh.access.v1.access_pb2 import Role

from tests.integration.auth.world import PASSWORD, Client, Place, key_pem, reason_of, until_refused
from tests.integration.support.service_process import run_prepared_command


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return file


def put(file: Path, password: str) -> None:
    file.write_text(password)


async def command(place: Place, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    environment = place.environment | {f"PROMPTMESH_{name}": value for name, value in more.items()}
    return await asyncio.to_thread(run_prepared_command, "auth", environment, *(str(one) for one in arguments))


async def test_an_admin_is_made_once(client: Client, place: Place, password_file: Path) -> None:
    arguments = ("bootstrap-admin", "--email", "Root@Example.test", "--password-file", password_file)
    first = await command(place, *arguments, "--display-name", "The Admin")
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    assert (answer["email"], answer["created"]) == ("root@example.test", True)
    user = (await client.log_in("root@example.test")).user
    assert (user.user_id, user.display_name) == (answer["user_id"], "The Admin")
    assert list(user.roles) == [Role.ROLE_USER, Role.ROLE_ADMIN]
    put(password_file, "another password")
    second = await command(place, *arguments)
    assert json.loads(second.stdout) == answer | {"created": False}
    assert (await client.log_in("root@example.test")).user == user


async def test_who_registered_the_email_first_does_not_become_admin(
    client: Client, place: Place, password_file: Path
) -> None:
    user = await client.register("squatter@example.test")
    done = await command(place, "bootstrap-admin", "--email", user.email, "--password-file", password_file)
    assert done.returncode == 1
    assert "no admin" in done.stderr
    assert done.stdout == ""
    assert list((await client.log_in(user.email)).user.roles) == [Role.ROLE_USER]


async def test_a_new_password_ends_all_sessions(client: Client, place: Place, password_file: Path) -> None:
    session, person = await client.somebody()
    await client.log_in(session.user.email)
    put(password_file, "a brand new password")
    done = await command(place, "reset-password", "--email", session.user.email, "--password-file", password_file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "user_id": session.user.user_id,
        "email": session.user.email,
        "sessions_ended": 2,
    }
    await until_refused(person)
    assert await reason_of(client.refresh(session.refresh_token)) == "CREDENTIAL_REVOKED"
    assert await reason_of(client.log_in(session.user.email)) == "LOGIN_FAILED"
    assert (await client.log_in(session.user.email, "a brand new password")).user == session.user


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("nobody@example.test", "long enough", "Nobody is registered"),
        ("a@example.test", "too short", "at least 10 characters"),
    ],
)
async def test_what_a_command_refuses(place: Place, password_file: Path, email: str, password: str, said: str) -> None:
    put(password_file, password)
    done = await command(place, "reset-password", "--email", email, "--password-file", password_file)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _rsa_pem() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _encrypted_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (key_pem(ec.SECP384R1()), "secp384r1"),
        (_rsa_pem(), "another kind of key"),
        (_encrypted_pem(), "encrypted"),
    ],
    ids=["missing", "empty", "damaged", "P-384", "RSA", "encrypted"],
)
async def test_a_signing_key_that_is_none(place: Place, tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    done = await command(place, AUTH_SIGNING_KEY_FILE=str(file), LISTEN="nowhere")
    assert done.returncode == 78
    assert "PROMPTMESH_AUTH_SIGNING_KEY_FILE" in done.stderr
    assert said in done.stderr
    assert "openssl genpkey" in done.stderr
    assert "PROMPTMESH_LISTEN" in done.stderr  # all that is wrong at once


async def test_a_signing_key_that_others_may_read_is_told_of(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(key_pem())
    file.chmod(0o644)
    with place.running(WORKER="open-0", AUTH_SIGNING_KEY_FILE=str(file)) as service:
        assert [line for line in service.log() if "chmod 600" in line["event"]]


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_is_told_to_end_ends_with_its_status(place: Place, how: signal.Signals, status: int) -> None:
    with place.running() as process:
        assert process.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(0.0)
        assert process.stop(how) == status
        assert process.stop() == status  # and nobody else gets the signal
