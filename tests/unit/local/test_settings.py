"""What `promptmesh up` is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.settings import MeshSettings, SettingsError


def read(tmp_path: Path, workers: int = 1, edge_port: int | None = None, **environment: str) -> MeshSettings:
    return MeshSettings.read(
        workers=workers, edge_port=edge_port, data=tmp_path / "data", environment=environment, directory=tmp_path
    )


def test_one_error_names_every_wrong_setting_and_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(
            tmp_path,
            workers=0,
            edge_port=70000,
            PROMPTMESH_LOG_LEVEL="loud",
            PROMPTMESH_DATABASE_URL="mysql://u:hidden@h/d",
            PROMPTMESH_REDIS_URL="localhost:6379",
            PROMPTMESH_MODELS_FILE="absent.yaml",
            PROMPTMESH_ENVOY_CONCURRENCY="many",
        )
    message = str(raised.value)
    for part in (
        "--workers is 0",
        "--edge-port is 70000",
        "PROMPTMESH_LOG_LEVEL is 'loud'; expected one of debug",
        "PROMPTMESH_DATABASE_URL is no postgresql:// address",
        "PROMPTMESH_REDIS_URL is no redis:// address",
        "absent.yaml, which is no file",
        "PROMPTMESH_ENVOY_CONCURRENCY is 'many'",
    ):
        assert part in message
    assert "hidden" not in message


def test_models_are_found_in_the_data_folder_before_here(tmp_path: Path) -> None:
    assert read(tmp_path).models_file is None
    (tmp_path / "models.yaml").touch()
    assert read(tmp_path).models_file == tmp_path / "models.yaml"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models.yaml").touch()
    assert read(tmp_path).models_file == tmp_path / "data" / "models.yaml"
    (tmp_path / "named.yaml").touch()
    assert read(tmp_path, PROMPTMESH_MODELS_FILE="named.yaml").models_file == tmp_path / "named.yaml"


def test_the_edges_settings_may_be_overridden_but_not_what_we_wire(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "edge.json"
    path.write_text('{"rate_per_second": 7}')
    assert read(tmp_path).edge_settings == {"rate_per_second": 7}
    path.write_text('{"clusters": {}, "admin_port": 1}')
    with pytest.raises(SettingsError, match=r"edge\.json sets admin_port, clusters"):
        read(tmp_path)
    path.write_text("[]")
    with pytest.raises(SettingsError, match=r"edge\.json holds list"):
        read(tmp_path)


def test_empty_variables_are_as_if_unset(tmp_path: Path) -> None:
    settings = read(tmp_path, PROMPTMESH_DATABASE_URL="", PROMPTMESH_REDIS_URL="", OPENAI_API_KEY="")
    assert settings.database_url is None
    assert settings.redis_url is None
    assert settings.provider_environment == {}


def test_the_children_find_the_code_and_the_stubs_where_we_did(tmp_path: Path) -> None:
    folders = read(tmp_path).shared_environment["PYTHONPATH"].split(":")
    assert any((Path(one) / "services" / "local").is_dir() for one in folders)
    assert any((Path(one) / "promptmesh").is_dir() for one in folders)


def test_any_providers_key_reaches_inference_alone(tmp_path: Path) -> None:
    settings = read(tmp_path, MISTRAL_API_KEY="k", PROMPTMESH_API_KEY="ours", OPENAI_BASE_URL="http://x", SHELL="sh")
    assert settings.provider_environment == {"MISTRAL_API_KEY": "k", "OPENAI_BASE_URL": "http://x"}
    assert not {"MISTRAL_API_KEY", "PROMPTMESH_API_KEY", "SHELL"} & set(settings.shared_environment)


def test_settings_of_the_services_are_handed_on_but_not_what_we_wire(tmp_path: Path) -> None:
    shared = read(
        tmp_path, PROMPTMESH_TRACE_RATIO="0.5", PROMPTMESH_DATABASE_URL="postgresql://u:p@h/d", PROMPTMESH_PASSWORD="p"
    ).shared_environment
    assert shared["PROMPTMESH_TRACE_RATIO"] == "0.5"
    assert not {"PROMPTMESH_DATABASE_URL", "PROMPTMESH_PASSWORD"} & set(shared)
