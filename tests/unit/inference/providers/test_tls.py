"""TLS to providers: the name is checked, the signer is checked, and what is said then is the same."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.inference.providers.http import HttpClient
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.unit.inference.calls import completed, streamed
from tests.unit.inference.providers.raw_server import FINISH, STREAM_HEAD, RawServer, Visit, framed, raw_server, whole


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `localhost`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
async def server(certificate: Path) -> AsyncIterator[RawServer]:
    async def answering(visit: Visit) -> None:
        await visit.say(STREAM_HEAD + framed(FINISH) + b"0\r\n\r\n" if b'"stream"' in visit.body else whole())

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with raw_server(answering, context) as server:
        yield server


async def test_calls_over_tls(server: RawServer, certificate: Path) -> None:
    client = HttpClient(connections_max=4, tls=ssl.create_default_context(cafile=str(certificate)))
    provider = OpenAiCompatible(client, "tls", server.url("https", "localhost"))
    for _ in range(2):
        await completed(provider)
        await streamed(provider)
    assert len({visit.connection for visit in server.visits}) == 1
    await client.close()


async def test_a_signer_that_nobody_trusts(server: RawServer, client: HttpClient) -> None:
    with pytest.raises(MeshError, match="certificate") as caught:
        await completed(OpenAiCompatible(client, "tls", server.url("https", "localhost")))
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    assert not server.visits
    assert client.pool.connections == 0


async def test_a_certificate_of_another_name(server: RawServer, certificate: Path) -> None:
    client = HttpClient(connections_max=4, tls=ssl.create_default_context(cafile=str(certificate)))
    with pytest.raises(MeshError, match="certificate"):
        await completed(OpenAiCompatible(client, "tls", server.url("https", "127.0.0.1")))
    assert not server.visits
    await client.close()
