"""What inference tells the audit trail of."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from promptmesh.inference.v1 import limits_pb2

from services.inference.catalog import Offers
from services.inference.config import parse
from services.inference.configs import Configs
from services.inference.ledger.filters import RequestQuery
from services.inference.ledger.reading import LedgerReader
from services.inference.limits.model import LimitValues
from services.inference.limits.overrides import Overrides
from services.inference.provider_keys import ProviderKeys
from services.inference.providers.http import Client, Timeouts
from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.sealing import Sealer
from tests.support.acts import acts_told

ADMIN = uuid7()
SECRET = "sk-never-to-be-told-1234"
PROVIDERS = 'providers: [{name: p, kind: openai, base_url: "http://x/v1", api_key_env: P_KEY}]\n'


@pytest.fixture(autouse=True)
def call() -> None:
    enter(Call(request_id="r-7", method="/a-test", caller=Caller(kind=CallerKind.SESSION, user_id=ADMIN)))


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("inference", 4)


@pytest.fixture
def offers() -> Offers:
    return Offers(cast(Client, object()), {"P_KEY": "sk-environment"}, Timeouts(), 0)


class NoLimits:
    """Takes what is set, and does nothing with it."""

    def override(self, values: Any) -> None:
        pass


async def test_keys_of_providers(database: Database, offers: Offers, outbox: Outbox) -> None:
    offers.configure(1, parse(PROVIDERS))
    keys = ProviderKeys(database, offers, Sealer([bytes(32)]), outbox=outbox)
    made = await keys.add("p", SECRET, "of the team", ADMIN)
    await keys.remove(made.provider_key_id)

    created, deleted = await acts_told(database)
    assert (created.action, deleted.action) == ("provider_key.create", "provider_key.delete")
    assert {created.subject.id, deleted.subject.id} == {made.provider_key_id}
    assert (created.actor.kind, created.actor.id, created.request_id) == ("user", ADMIN, "r-7")
    assert json.loads(created.change)["after"] == {"provider": "p", "display_name": "of the team", "hint": SECRET[-4:]}
    assert SECRET not in str(created) + str(deleted)


async def test_configurations(database: Database, offers: Offers, outbox: Outbox) -> None:
    configs = Configs(database, offers, {}, outbox)
    await configs.start(None)
    base = "models: [{name: a, provider: demo}]\n"
    await configs.apply(base, ADMIN, validate_only=True)
    await configs.apply(base, ADMIN, validate_only=False)
    await configs.apply(base, ADMIN, validate_only=False)  # nothing changes
    await configs.roll_back(0, ADMIN)

    applied, rolled_back = await acts_told(database)
    assert (applied.action, applied.subject.id) == ("config.apply", "2")
    assert (rolled_back.action, rolled_back.subject.id) == ("config.roll_back", "3")
    assert json.loads(rolled_back.change) == {"before": {"version": 2}, "after": {"version": 3, "rollback_of": 1}}


async def test_limits(database: Database, outbox: Outbox) -> None:
    overrides = Overrides(database, cast(Any, NoLimits()))
    overrides.record_to(outbox)
    org_id = uuid7()
    await overrides.set(limits_pb2.LIMIT_KIND_ORG, org_id, org_id, LimitValues(requests_per_minute=5))
    await overrides.set(limits_pb2.LIMIT_KIND_ORG, org_id, org_id, LimitValues(requests_per_minute=7))
    assert await overrides.remove(limits_pb2.LIMIT_KIND_ORG, org_id)
    assert not await overrides.remove(limits_pb2.LIMIT_KIND_ORG, org_id)

    first, second, deleted = [(one.action, json.loads(one.change)) for one in await acts_told(database)]
    assert first == ("limits.set", {"before": None, "after": {"requests_per_minute": 5}})
    assert second == ("limits.set", {"before": {"requests_per_minute": 5}, "after": {"requests_per_minute": 7}})
    assert deleted == ("limits.delete", {"before": {"requests_per_minute": 7}, "after": {}})


async def test_receipts_that_leave_as_a_file(database: Database, outbox: Outbox) -> None:
    org_id = uuid7()
    query = RequestQuery(org_id, 1, 2, *[None] * 7)
    await LedgerReader(database, 100).record_export(outbox, query)

    [told] = await acts_told(database)
    assert (told.action, told.subject.kind, told.subject.id) == ("usage.export", "organisation", org_id)
