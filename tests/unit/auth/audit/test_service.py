"""Lines of an export, what is under way at once, and the secret of the trail."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from google.protobuf import json_format
from promptmesh.auth.v1 import audit_pb2

from services.auth.audit.service import BUSY_RETRY_S, _Places, line_of
from services.auth.audit.settings import AuditSettings
from services.mesh.errors import MeshError
from services.mesh.sealing import Sealer
from services.mesh.settings import SettingsError, load


def test_a_line_is_what_the_rest_api_writes() -> None:
    record = audit_pb2.AuditRecord(
        sequence=7,
        action="user.suspend",
        actor=audit_pb2.AuditParty(kind="user", id="a", name="Ada"),
        subject=audit_pb2.AuditParty(kind="user", id="b"),
        address="203.0.113.7",
        change='{"after":{}}',
        succeeded=True,
        hash="00",
    )
    record.act_time.FromMilliseconds(1_700_000_000_123)

    written = json_format.MessageToDict(record, always_print_fields_with_no_presence=True)
    assert json.loads(line_of(record)) == written
    assert line_of(record).endswith(b"}\n")


def test_no_more_is_under_way_at_once_than_is_allowed() -> None:
    places = _Places("walks", 2)
    with places, places:
        with pytest.raises(MeshError, match="2 walks are under way") as refused, places:
            pass
        assert (refused.value.reason, refused.value.retry_after_s) == ("CONCURRENCY_LIMIT", BUSY_RETRY_S)
    with places:  # both ended, and the one that was refused took none
        pass


def settings(**more: Any) -> AuditSettings:
    pepper = base64.urlsafe_b64encode(bytes(32)).decode()
    return load(
        AuditSettings,
        worker="auth-0",
        database_url="postgresql://x",
        redis_url="redis://x",
        mesh_secret=pepper,
        key_pepper=pepper,
        **more,
    )


def test_a_secret_of_its_own_opens_what_was_sealed_before_it_was_set() -> None:
    before = settings().audit_sealer
    secret = base64.urlsafe_b64encode(os.urandom(32)).decode()
    after = settings(audit_secret=secret).audit_sealer

    sealed = before.seal("a key", "person", "audit")
    assert after.open(sealed, "person", "audit") == "a key"
    assert not after.is_current(sealed)
    assert before.is_current(sealed)


def test_the_secret_that_follows_from_the_pepper_is_not_the_pepper() -> None:
    assert not Sealer([bytes(32)]).is_current(settings().audit_sealer.seal("a key", "person", "audit"))


@pytest.mark.parametrize(
    "wrong", [{"audit_retention_days": -1}, {"audit_exports_max": 0}, {"audit_secret": "short"}], ids=str
)
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"PROMPTMESH_{next(iter(wrong)).upper()}"):
        settings(**wrong)
