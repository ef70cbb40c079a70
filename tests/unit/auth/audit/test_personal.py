"""People's part of records, and the ids of the writer."""

from __future__ import annotations

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.auth.v1 import audit_pb2

from services.auth.audit.personal import ACTOR, KEY_BYTES, SUBJECT, open_sealed, seal
from services.auth.audit.trail import _owners, next_id

KEY, OTHER = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)
FIELDS = {"name": "Ada", "address": "203.0.113.7"}


@given(
    st.dictionaries(st.sampled_from(["name", "reason", "change"]), st.text(st.characters(exclude_categories=["Cs"])))
)
def test_what_was_sealed_opens(fields: dict[str, str]) -> None:
    sealed = seal(KEY, "id", SUBJECT, fields, os.urandom)

    assert open_sealed(KEY, "id", SUBJECT, sealed) == {name: value for name, value in fields.items() if value}


def test_without_its_key_in_another_place_or_changed_it_does_not_open() -> None:
    sealed = seal(KEY, "id", ACTOR, FIELDS, os.urandom)

    assert b"Ada" not in sealed
    assert open_sealed(None, "id", ACTOR, sealed) is None
    assert open_sealed(OTHER, "id", ACTOR, sealed) is None
    assert open_sealed(KEY, "another", ACTOR, sealed) is None
    assert open_sealed(KEY, "id", SUBJECT, sealed) is None
    assert open_sealed(KEY, "id", ACTOR, sealed[:-1] + bytes([sealed[-1] ^ 1])) is None


def test_nothing_is_sealed_as_nothing() -> None:
    assert seal(KEY, "id", ACTOR, {"name": ""}, os.urandom) == b""
    assert open_sealed(None, "id", ACTOR, b"") == {}  # nothing was erased


@pytest.mark.parametrize(
    ("actor", "subject", "about", "owners"),
    [
        (("user", "a"), ("user", "b"), "", ("a", "b")),
        (("user", "a"), ("user", "b"), "b", ("a", "b")),
        (("user", "a"), ("api_key", "k"), "a", ("a", "a")),
        (("user", "a"), ("config", "3"), "", ("a", "")),
        (("anonymous", ""), ("user", "b"), "", ("b", "b")),  # a log-in: the address is the person's
        (("service", "auth"), ("post", "p"), "c", ("c", "c")),
        (("service", "auth"), ("post", "p"), "", ("", "")),
    ],
)
def test_whose_keys_hold_a_record(
    actor: tuple[str, str], subject: tuple[str, str], about: str, owners: tuple[str, str]
) -> None:
    record = audit_pb2.AuditRecord(
        actor=audit_pb2.AuditParty(kind=actor[0], id=actor[1]),
        subject=audit_pb2.AuditParty(kind=subject[0], id=subject[1]),
    )

    assert _owners(audit_pb2.ActRecorded(record=record, subject_user_id=about)) == owners


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=20))
def test_ids_rise_whatever_the_clock_does(clock: list[int]) -> None:
    last = str(uuid.UUID(int=0))
    for now_ms in clock:
        made = next_id(last, now_ms)
        assert made > last
        assert uuid.UUID(made).version == 7
        assert uuid.UUID(made).variant == uuid.RFC_4122
        last = made
