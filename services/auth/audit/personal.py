"""What names people in the trail, encrypted under a key of each person's own: with the key, the person is gone.

A sealed part is 12 bytes nonce ‖ ciphertext and tag of AES-256-GCM, bound to its record and its place there. The keys
stand in `audit_person_keys`, each sealed under the mesh's (services/mesh/sealing.py).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.mesh.database import Connection, queries
from services.mesh.sealing import Sealer, SealError
from services.mesh.telemetry.logs import get_logger

SQL = queries("services.auth")
log = get_logger()

KEY_BYTES = 32
NOBODY = ""  # whose key seals what is no person's; it is never dropped
ACTOR, SUBJECT = "actor", "subject"  # the two parts of a record
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 bits; random ones are safe for 2³² encryptions under a key
_OWNER = "audit"

RandomBytes = Callable[[int], bytes]


def seal(key: bytes, record_id: str, part: str, fields: Mapping[str, str], random_bytes: RandomBytes) -> bytes:
    """Fields that are not empty; no bytes at all where there are none."""
    given = {name: value for name, value in fields.items() if value}
    if not given:
        return b""
    nonce = random_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, orjson.dumps(given), _bound_to(record_id, part))


def open_sealed(key: bytes | None, record_id: str, part: str, sealed: bytes) -> dict[str, str] | None:
    """The fields; None if the key is gone, or is another than they were sealed under."""
    if not sealed:
        return {}
    if key is None:
        return None
    try:
        opened = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(record_id, part))
    except InvalidTag:
        return None
    fields: dict[str, str] = orjson.loads(opened)
    return fields


class PersonKeys:
    """The keys of persons, in the caller's transaction. None is remembered: one that was dropped is gone at once."""

    def __init__(self, sealer: Sealer, random_bytes: RandomBytes = os.urandom) -> None:
        self._sealer, self._random_bytes = sealer, random_bytes

    async def known(self, conn: Connection, persons: Collection[str]) -> dict[str, bytes]:
        """The keys of those persons that have one that can be opened."""
        rows = await conn.fetch(SQL["audit_person_keys"], list(persons))
        found: dict[str, bytes] = {}
        for row in rows:
            try:
                found[row["person_id"]] = self._opened(row)
            except SealError as error:
                log.error("a key of the audit trail cannot be opened", person_id=row["person_id"], why=str(error))
        return found

    async def to_seal_with(self, conn: Connection, persons: Collection[str]) -> dict[str, bytes]:
        """A key for each: the one there is, a new one, or for the erased one that nobody keeps.

        The caller holds the lock of the head, so that no two make a person's key and none is made after their erasure.
        """
        wanted = list(persons)
        rows = await conn.fetch(SQL["audit_person_keys"], wanted)
        # One that cannot be opened is an operator's fault (a secret that is not set), to be mended and tried again.
        keys = {row["person_id"]: self._opened(row) for row in rows}
        missing = [one for one in wanted if one not in keys]
        if not missing:
            return keys
        erased = {row["person_id"] for row in await conn.fetch(SQL["audit_erased_of"], missing)}
        made: list[tuple[str, bytes]] = []
        for person in missing:
            key = keys[person] = self._random_bytes(KEY_BYTES)
            if person not in erased:
                made.append((person, self._sealed(person, key)))
        if made:
            await conn.execute(SQL["audit_insert_keys"], [person for person, _ in made], [sealed for _, sealed in made])
        return keys

    async def erase(self, conn: Connection, persons: Sequence[str]) -> None:
        """Drops the keys of persons for ever. The caller holds the lock of the head."""
        await conn.execute(SQL["audit_erase_persons"], list(persons))

    async def reseal(self, conn: Connection, limit: int) -> int:
        """Brings keys that an older secret sealed under the first one; how many were looked at. In a transaction."""
        rows = await conn.fetch(SQL["audit_old_keys"], self._sealer.seal("", "", "")[:5], limit)
        for row in rows:
            try:
                sealed = self._sealed(row["person_id"], self._opened(row))
            except SealError:
                continue  # said where it is wanted
            await conn.execute(SQL["audit_reseal_key"], row["person_id"], sealed)
        return len(rows)

    def _sealed(self, person: str, key: bytes) -> bytes:
        return self._sealer.seal(base64.b64encode(key).decode(), person, _OWNER)

    def _opened(self, row: Any) -> bytes:
        return base64.b64decode(self._sealer.open(bytes(row["sealed"]), row["person_id"], _OWNER))


def _bound_to(record_id: str, part: str) -> bytes:
    return f"{record_id}\0{part}".encode()
