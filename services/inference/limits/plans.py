"""What a plan says of calls, as limits are held: looked up by name, made once for each set of plans."""

from __future__ import annotations

from services.inference.limits.model import NO_VALUES, VALUE_NAMES, Defaults, LimitValues
from services.mesh.plans import Amounts, Plan, Plans


class PlanLimits:
    """`of` is a `PlanOf`."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._made: dict[str, Defaults] = {}
        plans.on_change(self._made.clear)

    def of(self, name: str) -> Defaults:
        """The limits of a plan; of the default one for "" and for names that are not known."""
        plan = self._plans.of(name)
        made = self._made.get(plan.name)
        if made is None:
            made = self._made[plan.name] = _defaults(plan)
        return made

    def name(self, name: str) -> str:
        """The name of the plan that holds for it; empty where there are no plans."""
        return self._plans.of(name).name


def _defaults(plan: Plan) -> Defaults:
    return Defaults(_values(plan.api_key), _values(plan.user), _values(plan.org))


def _values(amounts: Amounts) -> LimitValues:
    known = {name: value for name, value in amounts.items() if name in VALUE_NAMES}  # not those of posts
    return LimitValues(**known) if known else NO_VALUES
