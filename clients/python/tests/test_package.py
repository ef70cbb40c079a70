"""What stands in the package, and what does not."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import promptmesh
import pytest
from promptmesh import Retries, types
from promptmesh._channels import Address, address_of


@pytest.mark.parametrize(
    ("text", "target", "is_encrypted"),
    [
        ("https://mesh.example.com", "mesh.example.com:443", True),
        ("https://mesh.example.com:8443/", "mesh.example.com:8443", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://localhost", "localhost:80", False),
        ("http://[::1]:8080", "[::1]:8080", False),
    ],
)
def test_an_address(text: str, target: str, is_encrypted: bool) -> None:
    assert address_of(text) == Address(target, is_encrypted)


@pytest.mark.parametrize("text", ["", "localhost:8080", "ftp://example.com", "https://", "http://example.com/v1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="an address looks like"):
        promptmesh.Promptmesh(text)


def test_what_is_needed_is_little() -> None:
    needed = {re.split("[<>]", one)[0] for one in requires("promptmesh") or () if "extra ==" not in one}
    assert needed == {"googleapis-common-protos", "grpcio", "protobuf"}


def test_types_are_shipped() -> None:
    (folder,) = [Path(one) for one in promptmesh.__path__ if (Path(one) / "py.typed").exists()]
    assert {one.stem for one in folder.rglob("*_pb2.py")} == {one.stem for one in folder.rglob("*_pb2.pyi")}


def test_every_public_name_is_there() -> None:
    assert all(hasattr(promptmesh, name) for name in promptmesh.__all__)
    assert all(hasattr(types, name) for name in types.__all__)


def test_what_is_between_services_is_left_out() -> None:
    assert not {"ResolveApiKeyRequest", "WatchIdentitiesRequest", "Access"} & set(types.__all__)


def test_options_of_the_servers_are_stripped() -> None:
    field = types.Post.DESCRIPTOR.fields_by_name["title"]
    assert not field.GetOptions().ByteSize()
    code = "import promptmesh, sys; print([name for name in sys.modules if name.startswith(('buf', 'protovalidate'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_waits_double_up_to_the_longest_less_up_to_a_half() -> None:
    full = Retries(first_wait_s=0.1, longest_wait_s=1.0, random=lambda: 0.0)
    assert [round(full.wait_s(failures), 3) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert full.wait_s(10_000) == 1.0
    some = Retries(first_wait_s=0.1, longest_wait_s=1.0, random=random.Random(1).random)
    waits = [some.wait_s(1) for _ in range(100)]
    assert 0.05 <= min(waits) < max(waits) <= 0.1


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first_wait_s": -1.0}, {"first_wait_s": 2.0, "longest_wait_s": 1.0}]
)
def test_retries_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Retries"):
        Retries(**wrong)  # type: ignore[arg-type]
