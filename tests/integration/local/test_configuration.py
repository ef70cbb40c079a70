"""Configuration and keys of providers by the command line, on a mesh of two workers with a real provider behind it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from services.local.testing import Answer, LocalMesh, local_mesh
from tests.support.provider import MisbehavingProvider, running_provider

pytestmark = pytest.mark.timeout(300)

SECRET = "sk-kept-by-the-mesh-0123456789"
PATIENCE_S = 30.0
TRIES = 8  # calls, so that both workers get some


async def promptmesh(mesh: LocalMesh, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit status and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.local", *arguments, "--data", str(mesh.data)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def done(mesh: LocalMesh, *arguments: str, given: str = "") -> str:
    status, out, err = await promptmesh(mesh, *arguments, given=given)
    assert status == 0, err
    return out


async def chat(mesh: LocalMesh, token: str) -> Answer:
    body = {"model": "house", "messages": [{"role": "user", "content": "Say hello."}]}
    return await asyncio.to_thread(mesh.call, "POST", "/v1/chat/completions", body, token=token)


async def everywhere(mesh: LocalMesh, token: str, provider: MisbehavingProvider, key: str) -> None:
    """Waits until calls, whichever worker takes them, go with this key."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            before = len(provider.calls)
            answers = [await chat(mesh, token) for _ in range(TRIES)]
            sent = {call.headers.get("Authorization", "") for call in provider.calls[before:]}
            # A worker that has not looked yet knows no such model.
            if {one.status for one in answers} == {200} and sent == ({f"Bearer {key}"} if key else {""}):
                return


def models(provider: MisbehavingProvider) -> str:
    return f"""
providers: [{{name: mock, kind: openai, base_url: "{provider.base_url}"}}]
models: [{{name: small, provider: mock, upstream_model: mock-small}}]
routes: [{{name: house, targets: [{{model: small}}], default: true}}]
"""


async def test_configuration_and_keys_by_the_command_line(tmp_path: Path) -> None:
    async with running_provider() as provider:
        with local_mesh(workers=2) as mesh:
            _, person = await asyncio.to_thread(mesh.register, "keys")
            token = await asyncio.to_thread(mesh.api_key, person, "inference:invoke")

            # A version
            file = tmp_path / "models.yaml"
            file.write_text(models(provider))
            assert "Version 2 is in force." in await done(mesh, "config", "apply", str(file))
            await everywhere(mesh, token, provider, "")
            listed = (await asyncio.to_thread(mesh.call, "GET", "/api/v1/models", token=token)).body["models"]
            house = next(one for one in listed if one["name"] == "house")
            assert [target["model"] for target in house["targets"]] == ["small"]

            # A stored key
            status, _, err = await promptmesh(mesh, "provider-keys", "add", "nobody", given=SECRET)
            assert status == 1
            assert "names no provider" in err
            added = await done(mesh, "provider-keys", "add", "mock", "--name", "team", given=f"{SECRET}\n")
            await everywhere(mesh, token, provider, SECRET)
            shown = await done(mesh, "provider-keys", "list")
            assert added.strip() in shown
            assert "…6789  team" in shown
            assert json.loads(await done(mesh, "provider-keys", "list", "--provider", "none", "--json")) == {
                "provider_keys": []
            }
            answer = await asyncio.to_thread(
                mesh.call, "GET", "/api/v1/providerKeys", token=await asyncio.to_thread(mesh.admin_token)
            )
            assert SECRET not in str(answer.body)
            assert (await asyncio.to_thread(mesh.call, "GET", "/api/v1/providerKeys", token=person)).status == 403
            assert "Removed." in await done(mesh, "provider-keys", "remove", added.strip())
            await everywhere(mesh, token, provider, "")
            status, _, err = await promptmesh(mesh, "provider-keys", "remove", added.strip())
            assert status == 1
            assert "PROVIDER_KEY_NOT_FOUND" in err

            # Going back
            status, _, err = await promptmesh(mesh, "config", "rollback", "99")
            assert status == 1
            assert "CONFIG_VERSION_NOT_FOUND" in err
            assert "Version 3 is in force, as version 1 was." in await done(mesh, "config", "rollback")
            versions = json.loads(await done(mesh, "config", "versions", "--json"))["versions"]
            assert [one["version"] for one in versions] == ["3", "2", "1"]
            assert versions[0]["rollbackOf"] == "1"
            assert "(as version 1)" in await done(mesh, "config", "versions", "--limit", "1")

            for process in await asyncio.to_thread(mesh.processes):
                assert SECRET not in mesh.log(process)
