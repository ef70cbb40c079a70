"""Images start, and serve, as a cluster runs them: another user than root, nothing writable but /tmp, no shell.

Those that `make images` built, which takes minutes and is not done here; and, wherever Debian's packages are, a root
with the same in it, laid out by the same steps without an engine (bare.py)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from images import entry
from services.local.embedded.postgres import PostgresCluster
from services.local.ports import free_ports
from tests.integration.auth.world import key_pem
from tests.k8s.bare import ARCHIVES, PATIENCE_S, Bare, assembled, needs_debian, needs_images, unpacked
from tests.k8s.built import objects
from tools import images
from tools.k8s_build import edge_settings

pytestmark = pytest.mark.timeout(600)
ASSEMBLED = "assembled"
each_image = [pytest.param(name, marks=needs_images) for name in sorted(ARCHIVES)]
here = pytest.param(ASSEMBLED, marks=needs_debian)


def root_of(name: str, factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = factory.mktemp("image")
    return assembled(folder) if name == ASSEMBLED else unpacked(ARCHIVES[name], folder)


@pytest.fixture(scope="module", params=[here, *each_image])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """Each image, and the root that has what both have."""
    yield from root_of(request.param, tmp_path_factory)


@pytest.fixture
def built(bare: Bare) -> Bare:
    """Each image alone."""
    if not list(bare.root.glob("opt/promptmesh/sbom.*")):
        pytest.skip("of built images alone")
    return bare


def test_nothing_is_in_it_that_could_run_something_else(bare: Bare) -> None:
    programs = {file.name for folder in ("usr/bin", "usr/sbin", "bin") for file in (bare.root / folder).glob("*")}
    assert programs <= {"python3", "python3.11"}
    for file in bare.root.rglob("*"):
        if not file.is_symlink() and file.is_file():
            assert not file.stat().st_mode & 0o6002, f"{file}: set-user-id, or writable by all"
    assert not list((bare.root / "opt/promptmesh/venv").rglob("pip/__main__.py"))


def test_it_is_small(built: Bare) -> None:
    size = sum(file.lstat().st_size for file in built.root.rglob("*") if not file.is_dir())
    envoy = built.root / entry.ENVOY_PROGRAM.lstrip("/")
    assert size - (envoy.stat().st_size if envoy.exists() else 0) < 220 * 2**20


def test_it_says_what_it_can_start(bare: Bare) -> None:
    status, said = bare.said("bash")
    assert status == entry.EXIT_USAGE
    assert "expected one of: auth, mail, prompts" in said
    assert (entry.ENVOY in said) is (bare.root / entry.ENVOY_PROGRAM.lstrip("/")).exists()


def test_every_service_begins_and_names_what_it_is_not_told(bare: Bare) -> None:
    for name in ("auth", "mail", "prompts", "moderation", "inference"):
        status, said = bare.said(name)
        assert status == 78, said
        assert "PROMPTMESH_MESH_SECRET is not set" in said, said


def test_its_sbom_is_in_it(built: Bare) -> None:
    found = sorted(built.root.glob("opt/promptmesh/sbom.*.cdx.json"))
    assert found
    for file in found:
        assert json.loads(file.read_text())["bomFormat"] == "CycloneDX"
    outside = json.loads((images.OUT / images.sbom_name("services")).read_text())
    assert {"pkg:deb", "pkg:pyp"} == {one["purl"][:7] for one in outside["components"]}


def test_the_edge_renders_and_takes_its_configuration(bare: Bare) -> None:
    if not (bare.root / entry.ENVOY_PROGRAM.lstrip("/")).exists():
        pytest.skip("of the edge's image alone")
    (bare.root / "etc/edge.json").write_text(edge_settings(objects("local")))
    arguments = ("--target", "kubernetes", "--settings", "/etc/edge.json", "--out", "/run/edge.yaml")
    status, said = bare.said("render", *arguments)
    assert status == 0, said
    status, said = bare.said("envoy", "--mode", "validate", "-c", "/run/edge.yaml")
    assert status == 0, said


async def test_it_migrates_and_serves(bare: Bare, postgres: PostgresCluster, redis_url: str, tmp_path: Path) -> None:
    """A database of nothing, then auth before it, asked over gRPC and told to stop: all of it out of the image."""
    name = f"image_{secrets.token_hex(4)}"
    postgres.run_sql(f"CREATE DATABASE {name}")
    admin = postgres.url(name)
    urls = {
        area: f"postgresql://promptmesh_{area}:of-the-tests@{admin.partition('@')[2]}"
        for area in ("auth", "prompts", "moderation", "inference")
    }
    told = {f"PROMPTMESH_{area.upper()}_DATABASE_URL": url for area, url in urls.items()}
    try:
        status, said = bare.said("migrate", environment=told | {"PROMPTMESH_ADMIN_DATABASE_URL": admin})
        assert status == 0, said
        await _serve(bare, urls["auth"], redis_url)
    finally:
        postgres.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _serve(bare: Bare, database_url: str, redis_url: str) -> None:
    (port,) = free_ports(1)
    key = bare.root / "etc/signing.pem"
    key.write_bytes(key_pem())
    key.chmod(0o444)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    environment = {
        "PROMPTMESH_WORKER": "auth-0",
        "PROMPTMESH_LISTEN": f"127.0.0.1:{port}",
        "PROMPTMESH_DATABASE_URL": database_url,
        "PROMPTMESH_REDIS_URL": redis_url,
        "PROMPTMESH_MESH_SECRET": secret,
        "PROMPTMESH_KEY_PEPPER": secret,
        "PROMPTMESH_AUTH_SIGNING_KEY_FILE": "/etc/signing.pem",
        **{f"PROMPTMESH_{area}_TARGET": "127.0.0.1:1" for area in ("PROMPTS", "MODERATION", "INFERENCE")},
    }
    process = bare.start("auth", environment=environment, stderr=subprocess.PIPE)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            asked = health_pb2.HealthCheckRequest()
            async with asyncio.timeout(PATIENCE_S):
                stub = health_pb2_grpc.HealthStub(channel)
                while (await stub.Check(asked, wait_for_ready=True)).status != health_pb2.HealthCheckResponse.SERVING:
                    await asyncio.sleep(0.1)
        # The process that was started is the service itself: nothing stands between it and the signal.
        assert os.stat(f"/proc/{process.pid}").st_uid == 10001
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert process.returncode == 0, said.decode()
    assert b"Read-only file system" not in said
