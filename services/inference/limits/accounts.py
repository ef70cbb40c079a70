"""Which limits hold for a caller: what was set for key, person and organisation, over the configuration's defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from services.inference.limits.model import API_KEY, NO_DEFAULTS, ORG, SPECS, USER, Defaults, LimitValues
from services.inference.limits.script import meter_key
from services.inference.limits.slices import Account, Meter, Org
from services.mesh.call import Caller

_UNKNOWN = object()
Overrides = Mapping[tuple[int, str], LimitValues]


class Accounts:
    """Remembers the limits of callers, of those heard lately.

    What is forgotten may still be held: an organisation with something to tell stays in `busy`, and its meters with it,
    so that there is never a second slice of the same limit.
    """

    def __init__(self, accounts_max: int, start: Callable[[Org], None]) -> None:
        self._max = accounts_max
        self._start = start
        self._young: dict[tuple[str, str, str], Account | None] = {}
        self._old: dict[tuple[str, str, str], Account | None] = {}
        self._orgs: WeakValueDictionary[str, Org] = WeakValueDictionary()
        self._defaults = NO_DEFAULTS
        self._overrides: Overrides = {}
        self.busy: set[Org] = set()

    def of(self, caller: Caller) -> Account | None:
        """The caller's; None where there is no limit."""
        key = (caller.api_key_id, caller.user_id, caller.org_id)
        account = self._young.get(key, _UNKNOWN)
        if account is _UNKNOWN:
            return self._find(key)
        return account  # type: ignore[return-value]

    def of_ids(self, api_key_id: str, user_id: str, org_id: str) -> Account | None:
        """As `of`, of a caller who is not here."""
        key = (api_key_id, user_id, org_id)
        return self._young[key] if key in self._young else self._find(key)

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

    def values_of(self, kind: int, subject_id: str) -> LimitValues:
        """What holds for a subject."""
        defaults = self._defaults.of(kind)
        own = self._overrides.get((kind, subject_id))
        return defaults if own is None else own.over(defaults)

    def _find(self, key: tuple[str, str, str]) -> Account | None:
        account = self._old[key] if key in self._old else self._make(*key)
        if len(self._young) >= self._max:
            self.age()
        self._young[key] = account
        return account

    def _make(self, api_key_id: str, user_id: str, org_id: str) -> Account | None:
        owner = org_id or user_id or api_key_id
        if not owner:
            return None  # a service of the mesh
        meters: list[Meter] = []
        caps: list[int] = []
        for kind, subject_id in ((API_KEY, api_key_id), (USER, user_id), (ORG, org_id)):
            if not subject_id:
                continue
            values = self.values_of(kind, subject_id)
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
