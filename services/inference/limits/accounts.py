"""Which limits hold for a caller. Of each limit of a subject, the first of these that says something:

1. what an administrator set for this key, person or organisation (LimitService);
2. the plan of the caller's organisation, for its keys, its people and itself (PlanService);
3. the defaults of the configuration (`limits:` of models.yaml).

Key, person and organisation are subjects of their own: a call is held against the limits of all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

from promptmesh.inference.v1 import limits_pb2 as pb

from services.inference.limits.model import API_KEY, NO_DEFAULTS, NO_VALUES, ORG, SPECS, USER, Defaults, LimitValues
from services.inference.limits.script import meter_key
from services.inference.limits.slices import Account, Meter, Org
from services.mesh.call import Caller
from services.mesh.lru import Lru

_UNKNOWN = object()
Overrides = Mapping[tuple[int, str], LimitValues]
PlanOf = Callable[[str], Defaults]
"""A plan's name, "" for the default one → what it says of each kind."""
_ORGS_PER_ACCOUNT = 2  # whose plan is remembered, for each account that is


def no_plans(_name: str) -> Defaults:
    """Where there are none."""
    return NO_DEFAULTS


class Accounts:
    """Remembers the limits of callers, of those heard lately.

    What is forgotten may still be held: an organisation with something to tell stays in `busy`, and its meters with it,
    so that there is never a second slice of the same limit.
    """

    def __init__(self, accounts_max: int, start: Callable[[Org], None], plan_of: PlanOf = no_plans) -> None:
        self._max = accounts_max
        self._start = start
        self._plan_of = plan_of
        self._young: dict[tuple[str, str, str, str], Account | None] = {}
        self._old: dict[tuple[str, str, str, str], Account | None] = {}
        self._plans: Lru[str, str] = Lru(_ORGS_PER_ACCOUNT * accounts_max)  # organisation → plan it was last seen with
        self._orgs: WeakValueDictionary[str, Org] = WeakValueDictionary()
        self._defaults = NO_DEFAULTS
        self._overrides: Overrides = {}
        self.busy: set[Org] = set()

    def of(self, caller: Caller) -> Account | None:
        """The caller's; None where there is no limit."""
        key = (caller.api_key_id, caller.user_id, caller.org_id, caller.plan)
        account = self._young.get(key, _UNKNOWN)
        if account is _UNKNOWN:
            return self._find(key)
        return account  # type: ignore[return-value]

    def of_ids(self, api_key_id: str, user_id: str, org_id: str) -> Account | None:
        """As `of`, of a caller who is not here, under the plan that their organisation was last seen with."""
        key = (api_key_id, user_id, org_id, self._plans.get(org_id or user_id or api_key_id) or "")
        return self._young[key] if key in self._young else self._find(key)

    def meters_of_ids(self, api_key_id: str, user_id: str, org_id: str) -> Sequence[Meter]:
        """One for each limit that may have held for a caller, whichever plan they had."""
        owner = org_id or user_id or api_key_id
        if not owner:
            return ()
        org = self._org(owner)
        meters: list[Meter] = []
        for kind, subject_id in ((API_KEY, api_key_id), (USER, user_id), (ORG, org_id)):
            for spec in SPECS if subject_id else ():
                redis_key = meter_key(owner, kind, subject_id, spec.short)
                meters.append(org.meters.get(redis_key) or Meter(org, kind, subject_id, spec, redis_key, 0))
        return meters

    def orgs(self) -> list[Org]:
        """All of which something is known."""
        return list(self._orgs.values())

    def configure(self, defaults: Defaults) -> None:
        """These defaults hold from now on."""
        self._defaults = defaults
        self.forget()

    def override(self, overrides: Overrides) -> None:
        """All that was set, by kind and id; it holds from now on."""
        self._overrides = overrides
        self.forget()

    def forget(self) -> None:
        """Has all limits looked up anew. What is held stays held."""
        self._young, self._old = {}, {}

    def age(self) -> None:
        """Forgets callers of whom nothing was heard since the last time but one."""
        self._young, self._old = {}, self._young

    def values_of(self, kind: int, subject_id: str, plan: str) -> LimitValues:
        """What holds for a subject of an organisation with a plan."""
        values = self._defaults.of(kind)
        planned = self._plan_of(plan).of(kind)
        if planned is not NO_VALUES:
            values = planned.over(values)
        own = self._overrides.get((kind, subject_id))
        return values if own is None else own.over(values)

    def source_of(self, kind: int, subject_id: str, plan: str, limit: str) -> int:
        """Where a limit that holds comes from: a number of LimitSource."""
        own = self._overrides.get((kind, subject_id))
        if own is not None and getattr(own, limit) is not None:
            return pb.LIMIT_SOURCE_OVERRIDE
        if getattr(self._plan_of(plan).of(kind), limit) is not None:
            return pb.LIMIT_SOURCE_PLAN
        return pb.LIMIT_SOURCE_CONFIGURATION

    def _find(self, key: tuple[str, str, str, str]) -> Account | None:
        account = self._old[key] if key in self._old else self._make(*key)
        if len(self._young) >= self._max:
            self.age()
        self._young[key] = account
        return account

    def _make(self, api_key_id: str, user_id: str, org_id: str, plan: str) -> Account | None:
        owner = org_id or user_id or api_key_id
        if not owner:
            return None  # a service of the mesh
        known = self._plans.get(owner)
        if known != plan:
            self._plans.put(owner, plan)
            if known is not None:
                # Accounts of one organisation share meters, and a meter has one limit: none of the plan before is kept.
                self.forget()
        meters: list[Meter] = []
        caps: list[int] = []
        for kind, subject_id in ((API_KEY, api_key_id), (USER, user_id), (ORG, org_id)):
            if not subject_id:
                continue
            values = self.values_of(kind, subject_id, plan)
            if values.output_tokens_per_request is not None:
                caps.append(values.output_tokens_per_request)
            for spec in SPECS:
                limit: int | None = getattr(values, spec.name)
                if limit is not None:
                    org = self._org(owner)
                    redis_key = meter_key(owner, kind, subject_id, spec.short)
                    meter = org.meters.get(redis_key)
                    if meter is None:
                        meter = org.meters[redis_key] = Meter(org, kind, subject_id, spec, redis_key, limit)
                    meter.set_limit(limit)
                    meters.append(meter)
        if not meters and not caps:
            return None
        return Account(self._org(owner), tuple(meters), min(caps, default=None))

    def _org(self, org_id: str) -> Org:
        org = self._orgs.get(org_id)
        if org is None:
            org = self._orgs[org_id] = Org(org_id, self.busy, self._start)
        return org
