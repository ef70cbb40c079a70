"""Log-ins elsewhere: the operator's file, and which addresses a provider may name."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.abc import AbstractResolver, ResolveResult

from services.auth.federation.addresses import check_endpoint, is_public
from services.auth.federation.config import FILE_BYTES_MAX, PROVIDERS_MAX, SECRET_BYTES_MAX, read_providers
from services.auth.federation.discovery import trusted_hosts
from services.auth.federation.faults import ProviderFault
from services.auth.federation.resolver import PublicResolver

GOOD = {"provider": "acme", "display_name": "Acme", "issuer": "https://id.acme.example/a", "client_id": "mesh"}


def file_of(folder: Path, *providers: dict[str, Any], **more: Any) -> Path:
    file = folder / "oidc.yaml"
    file.write_text(yaml.safe_dump({"providers": list(providers), **more}))
    return file


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    secret = {"client_secret_file": str(tmp_path / "secret"), "private_hosts": ["Keys.Corp.example"]}
    other = {**GOOD, "provider": "b", "issuer": "http://localhost:9", "scopes": ["openid"]}
    first, second = read_providers(file_of(tmp_path, {**GOOD, **secret}, other))
    found = first.secret()
    assert found is not None
    assert found.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(first)
    assert (first.scopes, second.scopes, second.secret()) == (["openid", "email", "profile"], ["openid"], None)
    assert trusted_hosts(first) == {"id.acme.example", "keys.corp.example"}


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "Acme"},
        {"provider": "a" * 33},
        {"display_name": ""},
        {"display_name": "a" * 65},
        {"issuer": "http://id.acme.example"},
        {"issuer": "http://192.0.2.1"},
        {"issuer": "https://id.acme.example/?a=b"},
        {"issuer": "https://a:b@id.acme.example"},
        {"issuer": "https://id.acme.example/#a"},
        {"issuer": "ftp://id.acme.example"},
        {"issuer": "https://"},
        {"client_id": ""},
        {"client_id": "a b"},
        {"client_id": 7},
        {"scopes": ["email"]},
        {"scopes": ["openid", "a b"]},
        {"client_secret": "in the file"},
        {"client_secret_file": "/nowhere/at/all"},
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        read_providers(file_of(tmp_path, {**GOOD, **change}))
    assert "in the file" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "providers: {}", "providers: []\nmore: 1", "a: [", "providers: [!!python/name:os.system '']"]
)
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "oidc.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"oidc\.yaml"):
        read_providers(file)


def test_bounds_of_a_file(tmp_path: Path) -> None:
    def numbered(count: int) -> list[dict[str, Any]]:
        return [{**GOOD, "provider": f"p{at}", "issuer": f"https://p{at}.example"} for at in range(count)]

    assert len(read_providers(file_of(tmp_path, *numbered(PROVIDERS_MAX)))) == PROVIDERS_MAX
    with pytest.raises(ValueError, match="16"):
        read_providers(file_of(tmp_path, *numbered(PROVIDERS_MAX + 1)))
    for twice in ({"issuer": "https://other.example"}, {"provider": "other"}):
        with pytest.raises(ValueError, match="twice"):
            read_providers(file_of(tmp_path, GOOD, {**GOOD, **twice}))
    (tmp_path / "large").write_text("#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="more than"):
        read_providers(tmp_path / "large")
    with pytest.raises(ValueError, match="cannot be read"):
        read_providers(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "\n", "a" * (SECRET_BYTES_MAX + 1), "\udcff"])
def test_a_secret_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="client_secret_file"):
        read_providers(file_of(tmp_path, {**GOOD, "client_secret_file": str(tmp_path / "secret")}))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_endpoints() -> None:
    trusted = {"10.0.0.1", "127.0.0.1"}
    for good, plain in (
        ("https://id.example/token", False),
        ("https://10.0.0.1/token", False),
        ("https://93.184.216.34/token", False),
        ("http://127.0.0.1:9/token", True),
    ):
        assert check_endpoint(good, "token_endpoint", plain=plain, trusted=trusted) == good
    for bad, plain in (
        ("http://127.0.0.1:9/token", False),
        ("http://id.example/token", True),
        ("https://10.0.0.2/token", False),
        ("https://id.example/\r\nhost: x", False),
        ("https://id.example:0/", False),
        ("https://id.example:99999/", False),
        ("https://" + "a" * 2048, False),
        ("https://idé.example", False),
        ("", False),
    ):
        with pytest.raises(ProviderFault):
            check_endpoint(bad, "token_endpoint", plain=plain, trusted=trusted)


class Names(AbstractResolver):
    """Resolves every name to addresses that a test sets."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=int(family), proto=0, flags=0)
            for one in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def test_names_lead_to_public_addresses_but_those_of_the_operator() -> None:
    mixed = PublicResolver(Names("10.0.0.1", "93.184.216.34"), {"id.corp.example"})
    assert [one["host"] for one in await mixed.resolve("elsewhere.example", 443)] == ["93.184.216.34"]
    assert len(await mixed.resolve("id.corp.example", 443)) == 2
    private = PublicResolver(Names("10.0.0.1", "::1"), {"id.corp.example"})
    with pytest.raises(OSError, match="private"):
        await private.resolve("elsewhere.example", 443)
    await private.close()
