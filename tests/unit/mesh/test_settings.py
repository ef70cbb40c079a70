from __future__ import annotations

import base64
from pathlib import Path
from typing import ClassVar

import pytest

from services.mesh.settings import MeshSettings, SettingsError, load, secret_bytes

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
GOOD = {
    "WORKER": "prompts-0",
    "DATABASE_URL": "postgresql://prompts:pass-word@127.0.0.1/mesh",
    "REDIS_URL": "redis://:pass-word@127.0.0.1:6379/0",
    "MESH_SECRET": KEY,
    "KEY_PEPPER": KEY,
}


class ServiceSettings(MeshSettings):
    service: ClassVar[str] = "prompts"
    posts_max: int = 10


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    import os

    for name in [name for name in os.environ if name.startswith("PROMPTMESH_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(f"PROMPTMESH_{name}", value)
    return monkeypatch


def test_good_settings(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PROMPTMESH_LISTEN", "0.0.0.0:50051")
    environment.setenv("PROMPTMESH_REDIS_CACHE_URL", "")  # empty is not set
    environment.setenv("PROMPTMESH_FAILPOINTS_DIR", "/tmp/x")
    environment.setenv("PROMPTMESH_POSTS_MAX", "7")
    environment.setenv("PROMPTMESH_HTTP_HELD_BYTES_MAX", "2048")
    environment.setenv("PROMPTMESH_OF_ANOTHER_SERVICE", "1")
    settings = load(ServiceSettings)
    assert (settings.listen, settings.posts_max, settings.redis_cache_url) == ("0.0.0.0:50051", 7, None)
    assert settings.failpoints_dir == Path("/tmp/x")
    assert settings.http_held_bytes_max == 2048
    assert secret_bytes(settings.mesh_secret) == bytes(range(32))


def test_secrets_do_not_print_themselves() -> None:
    assert "pass-word" not in repr(load(ServiceSettings))
    assert KEY not in repr(load(ServiceSettings))


def test_every_fault_at_once_without_secrets(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("PROMPTMESH_WORKER")
    environment.setenv("PROMPTMESH_DATABASE_URL", "mysql://root:hunter2@db/x")
    environment.setenv("PROMPTMESH_REDIS_URL", "hunter2")
    environment.setenv("PROMPTMESH_MESH_SECRET", "hunter2")
    environment.setenv("PROMPTMESH_KEY_PEPPER", "not base64 %%% hunter2 hunter2 hunter2 hunter2")
    environment.setenv("PROMPTMESH_LISTEN", "nowhere")
    environment.setenv("PROMPTMESH_LOG_LEVEL", "loud")
    environment.setenv("PROMPTMESH_TRACE_RATIO", "2")
    environment.setenv("PROMPTMESH_POSTS_MAX", "many")
    with pytest.raises(SettingsError) as caught:
        load(ServiceSettings)
    text = str(caught.value)
    assert text.startswith("9 settings are missing or wrong, so prompts does not start:")
    for name in (
        *("WORKER", "DATABASE_URL", "REDIS_URL", "MESH_SECRET", "KEY_PEPPER"),
        *("LISTEN", "LOG_LEVEL", "TRACE_RATIO", "POSTS_MAX"),
    ):
        assert f"PROMPTMESH_{name}" in text
    assert "hunter2" not in text
    assert "'nowhere'" in text
    assert "host:port" in text
    assert "postgresql://" in text


@pytest.mark.parametrize("worker", ["Prompts-0", "-x", "x-", "x" * 64, "a_b"])
def test_worker_names(environment: pytest.MonkeyPatch, worker: str) -> None:
    environment.setenv("PROMPTMESH_WORKER", worker)
    with pytest.raises(SettingsError, match="PROMPTMESH_WORKER"):
        load(ServiceSettings)


@pytest.mark.parametrize("address", ["127.0.0.1", ":1", "a:70000", "a:b"])
def test_addresses(environment: pytest.MonkeyPatch, address: str) -> None:
    environment.setenv("PROMPTMESH_METRICS_LISTEN", address)
    with pytest.raises(SettingsError, match="host:port"):
        load(ServiceSettings)
