"""Several signing keys: read from a file or a folder, and which of them signs when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.auth.signing import Signer, SigningKeyError, load_signing_keys
from services.auth.signing_keys import chosen
from services.local.data_folder import DataFolder
from services.local.secrets import add_signing_key, load_or_make_secrets
from tests.integration.auth.world import key_pem

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PUBLISH = timedelta(seconds=600)
_KEY = ec.generate_private_key(ec.SECP256R1())
A, B, C = (Signer(_KEY, kid) for kid in "abc")


def ago(**kids_s: float) -> dict[str, datetime]:
    """Published so many seconds ago."""
    return {kid: NOW - timedelta(seconds=seconds) for kid, seconds in kids_s.items()}


@pytest.mark.parametrize(
    ("own", "published", "signer", "newer"),
    [
        ([A], {}, A, []),  # the first key of a mesh
        ([A], ago(a=1), A, []),
        ([B], ago(a=9000), B, []),  # one file that was replaced: there is nothing else to sign with
        ([A, B], ago(a=9000), A, [B]),  # a new one is published first
        ([A, B], ago(a=9000, b=599), A, [B]),
        ([A, B], ago(a=9000, b=600), B, []),  # and then signs
        ([A, B, C], ago(a=9000, b=300, c=100), A, [B, C]),
        ([A, B, C], ago(a=9000, b=700, c=100), B, [C]),
        ([A, B, C], ago(b=9000), B, [C]),  # the one before is retired, though its file is there
        ([A, B], {}, A, [B]),  # the first start, with two
        ([A, B], ago(b=100), B, []),  # known the longest
    ],
)
def test_which_key_signs(
    own: list[Signer], published: dict[str, datetime], signer: Signer, newer: list[Signer]
) -> None:
    found, waiting = chosen(own, published, NOW, PUBLISH)
    assert (found.kid, [one.kid for one in waiting]) == (signer.kid, [one.kid for one in newer])


def test_a_folder_is_read_by_name_and_a_file_from_the_top(tmp_path: Path) -> None:
    first, second, third = key_pem(), key_pem(), key_pem()
    (tmp_path / "2.pem").write_bytes(third)
    (tmp_path / "1.pem").write_bytes(first + second)
    (tmp_path / "other.txt").write_text("no key")
    for number, pem in enumerate((first, second, third)):
        (tmp_path / f"alone-{number}").write_bytes(pem)
    alone = [load_signing_keys(tmp_path / f"alone-{number}")[0].kid for number in range(3)]
    assert [one.kid for one in load_signing_keys(tmp_path)] == alone
    assert [one.kid for one in load_signing_keys(tmp_path / "1.pem")] == alone[:2]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match=r"holds no file \*\.pem"):
        load_signing_keys(tmp_path)
    pem = key_pem()
    (tmp_path / "1.pem").write_bytes(pem)
    (tmp_path / "2.pem").write_bytes(pem)
    with pytest.raises(SigningKeyError, match="twice"):
        load_signing_keys(tmp_path)
    (tmp_path / "2.pem").write_bytes(key_pem(ec.SECP384R1()))
    with pytest.raises(SigningKeyError, match="secp384r1"):
        load_signing_keys(tmp_path)


def test_private_keys_are_in_no_repr() -> None:
    assert repr(A) == "Signer(kid='a')"


def test_the_local_mesh_keeps_the_key_that_signs_and_those_that_follow(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    data.make()
    load_or_make_secrets(data)
    seen = [one.kid for one in load_signing_keys(data.signing_key)]
    for _ in range(4):
        add_signing_key(data)
        kids = [one.kid for one in load_signing_keys(data.signing_key)]
        assert kids[:-1] == seen[-2:]
        seen = kids
    assert data.signing_key.stat().st_mode & 0o077 == 0
