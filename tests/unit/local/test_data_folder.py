"""The data folder: its lock, its secrets, its ports."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from services.local.data_folder import (
    AlreadyRunningError,
    DataFolder,
    DataFolderError,
    NotRunningError,
    default_data_folder,
)
from services.local.files import BadFileError
from services.local.options import command_line
from services.local.port_book import PortTakenError, choose_ports
from services.local.ports import free_ports, has_ipv6, is_free
from services.local.secrets import Secrets, load_or_make_admin, load_or_make_secrets, save_admin


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    return folder


def test_only_one_process_runs_a_folder(data: DataFolder) -> None:
    assert data.running_pid() is None
    with data.locked():
        assert data.running_pid() == os.getpid()
        with pytest.raises(AlreadyRunningError, match=rf"process {os.getpid()}.* down --data"), data.locked():
            pass
    assert data.running_pid() is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match="--data"):
        DataFolder(tmp_path / "file" / "data").make()


def test_where_the_data_is_by_default() -> None:
    assert default_data_folder({"PROMPTMESH_DATA": "/d"}) == Path("/d")
    assert default_data_folder({"HOME": "/h"}) == Path("/h/.local/share/promptmesh")
    assert default_data_folder({"HOME": "/h", "XDG_DATA_HOME": "/x"}) == Path("/x/promptmesh")


def test_secrets_are_made_once_and_only_their_owner_reads_them(data: DataFolder) -> None:
    made = load_or_make_secrets(data)
    assert asdict(load_or_make_secrets(data)) == asdict(made)
    assert len(set(asdict(made).values())) == len(asdict(made))
    for path in (data.secrets, data.signing_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"BEGIN PRIVATE KEY" in data.signing_key.read_bytes()


def test_a_secret_that_a_new_version_needs_is_added_and_the_rest_kept(data: DataFolder) -> None:
    made = load_or_make_secrets(data)
    stored = json.loads(data.secrets.read_text())
    del stored["key_pepper"]
    data.secrets.write_text(json.dumps(stored | {"of_a_later_version": "kept"}))
    again = load_or_make_secrets(data)
    assert again.mesh_secret == made.mesh_secret
    assert again.key_pepper != made.key_pepper
    assert json.loads(data.secrets.read_text())["of_a_later_version"] == "kept"


def test_lost_secrets_of_a_database_are_not_made_anew(data: DataFolder) -> None:
    data.postgres.mkdir()
    with pytest.raises(DataFolderError, match=r"secrets\.json is missing"):
        load_or_make_secrets(data)


def test_a_broken_secrets_file_is_named(data: DataFolder) -> None:
    data.secrets.write_text("{")
    with pytest.raises(BadFileError, match=r"secrets\.json is not JSON"):
        load_or_make_secrets(data)


def test_secrets_do_not_print_themselves(data: DataFolder) -> None:
    made = load_or_make_secrets(data)
    assert made.mesh_secret not in f"{made} {made!r}"
    admin = load_or_make_admin(data)
    assert admin.password not in f"{admin} {admin!r}"


def test_the_admin_is_written_down_before_the_account_is_made(data: DataFolder) -> None:
    admin = load_or_make_admin(data)
    assert not admin.made
    assert stat.S_IMODE(data.admin.stat().st_mode) == 0o600
    again = load_or_make_admin(data)
    assert (again.email, again.password) == (admin.email, admin.password)
    save_admin(data, type(admin)(admin.email, admin.password, made=True))
    assert load_or_make_admin(data).made


def test_ports_are_kept(data: DataFolder) -> None:
    names = ["edge", "auth-0", "auth-0-metrics"]
    first = choose_ports(data, names, None)
    assert choose_ports(data, names, None) == first
    assert choose_ports(data, [*names, "auth-1"], None).items() >= first.items()


def test_a_port_that_was_taken_meanwhile_is_chosen_anew(data: DataFolder) -> None:
    first = choose_ports(data, ["postgres", "auth-0"], None)
    with socket.create_server(("127.0.0.1", first["postgres"])):
        second = choose_ports(data, ["postgres", "auth-0"], None)
    assert second["postgres"] != first["postgres"]
    assert second["auth-0"] == first["auth-0"]
    assert choose_ports(data, ["postgres"], None)["postgres"] == second["postgres"]


def test_an_edge_port_that_was_asked_for_is_that_or_an_error(data: DataFolder) -> None:
    (port,) = free_ports(1)
    assert choose_ports(data, ["edge", "auth-0"], port)["edge"] == port
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PortTakenError, match=f"Port {port} is in use"):
            choose_ports(data, ["edge"], port)
        assert choose_ports(data, ["edge"], None)["edge"] != port


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_the_edge_has_its_port_on_both_addresses_of_localhost(data: DataFolder) -> None:
    (port,) = free_ports(1)
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        with pytest.raises(PortTakenError, match=f"Port {port} is in use"):
            choose_ports(data, ["edge"], port)
        assert choose_ports(data, ["auth-0"], None)
    assert choose_ports(data, ["edge"], port)["edge"] == port


def test_what_to_type_names_the_folder_and_the_program(data: DataFolder) -> None:
    with pytest.raises(NotRunningError, match=f"up --data {data.path}`"):
        data.require_running()


def test_what_to_type_works_without_this_terminals_environment(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTMESH_DATA", str(data.path))
    assert command_line("status", data=data).endswith(f"status --data {data.path}")
    monkeypatch.delenv("PROMPTMESH_DATA")
    assert command_line("status", data=DataFolder(default_data_folder())).endswith("status")


def test_an_edge_port_that_another_name_has_moves_the_other(data: DataFolder) -> None:
    first = choose_ports(data, ["edge", "auth-0"], None)
    second = choose_ports(data, ["edge", "auth-0"], first["auth-0"])
    assert second["edge"] == first["auth-0"] != second["auth-0"]


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(is_free(port) for port in ports)


def test_secrets_have_32_random_bytes() -> None:
    assert all(len(one) == 43 for one in asdict(Secrets()).values())
