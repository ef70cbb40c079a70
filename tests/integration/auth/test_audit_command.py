"""`python -m services.auth audit verify`: the chain, without the service."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import asyncpg
import pytest

from tests.integration.auth.world import PASSWORD, PATIENCE_S, Place
from tests.integration.support.service_process import ServiceProcess, run_prepared_command


async def command(place: Place, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = place.environment | {f"PROMPTMESH_{name}": value for name, value in more.items()}
    return await asyncio.to_thread(run_prepared_command, "auth", environment, *arguments)


async def test_what_commands_did_is_in_a_chain_that_the_database_alone_shows(
    service: ServiceProcess, place: Place, rows: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    for name in ("bootstrap-admin", "reset-password"):
        done = await command(place, name, "--email", "root@example.test", "--password-file", str(file))
        assert done.returncode == 0, done.stderr
    actions: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not {"user.bootstrap", "user.password.reset"} <= actions:
            await asyncio.sleep(0.05)
            actions = {row["action"] for row in await rows.fetch("SELECT action FROM audit_records")}

    holds = await command(place, "audit", "verify")
    assert holds.returncode == 0, holds.stderr
    said = json.loads(holds.stdout)
    assert (said["holds"], said["fault"]) == (True, "")
    assert (await command(place, "audit", "verify", "--expect", said["head"])).returncode == 0

    async with rows.transaction():
        await rows.execute("SET LOCAL session_replication_role = replica")
        await rows.execute("UPDATE audit_records SET action = 'user.praise' WHERE sequence = 2")
    broken = await command(place, "audit", "verify")
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["broken_sequence"] == 2


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("audit",), 2), (("audit", "verify", "--expect", "the last"), 2), (("audit", "mend"), 2)],
)
async def test_wrong_arguments(place: Place, arguments: tuple[str, ...], status: int) -> None:
    done = await command(place, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr


async def test_a_secret_that_is_none_stops_the_start(place: Place) -> None:
    secret = "too-short-to-be-a-key"
    done = await command(place, "audit", "verify", AUDIT_SECRET=secret)
    assert done.returncode == 78
    assert "PROMPTMESH_AUDIT_SECRET" in done.stderr
    assert secret not in done.stderr
