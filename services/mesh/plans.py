"""The plans in force, as this process knows them: fed by auth's WatchPlans. With auth away what is known holds on.

A service says what it needs of a limit as a plain dictionary look-up; nothing here waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass, field

import grpc
from promptmesh.auth.v1 import plans_pb2 as pb
from promptmesh.auth.v1.plans_pb2_grpc import PlanServiceStub

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits by kind of subject, each under the names of promptmesh.auth.v1.PlanLimits; what is not there has none."""

    name: str
    api_key: Amounts = field(default_factory=dict)
    user: Amounts = field(default_factory=dict)
    org: Amounts = field(default_factory=dict)


NO_PLAN = Plan("")


class Plans:
    """The snapshot. `apply` is called by the Follower with each message."""

    def __init__(self) -> None:
        self.version = 0
        self._plans: dict[str, Plan] = {}
        self._default = NO_PLAN
        self._changed: list[Callable[[], None]] = []

    def apply(self, message: pb.Plans) -> int:
        """Takes a set of plans, unless it is an older one, as from a process of auth that has not heard of the newest.
        Answers the version that holds then."""
        if message.version > self.version:
            self.version = message.version
            self._plans = {one.name: _plan(one) for one in message.plans}
            self._default = self._plans.get(message.default_plan, NO_PLAN)
            for told in self._changed:
                told()
        return self.version

    def of(self, name: str) -> Plan:
        """The plan of this name; the default one for "", and for a name that is not known here (a moment after a plan
        was made and given). Before anything was heard: no limits."""
        return self._plans.get(name, self._default) if name else self._default

    def on_change(self, told: Callable[[], None]) -> None:
        """Calls `told` whenever other plans hold."""
        self._changed.append(told)


def watch(channel: grpc.aio.Channel) -> Callable[[int], AsyncIterable[pb.Plans]]:
    """The feed, as a Follower opens it; ends or fails when auth is away."""
    stub = PlanServiceStub(channel)

    def open_feed(after_version: int) -> AsyncIterable[pb.Plans]:
        feed: AsyncIterable[pb.Plans] = stub.WatchPlans(pb.WatchPlansRequest(after_version=after_version))
        return feed

    return open_feed


def _plan(plan: pb.Plan) -> Plan:
    return Plan(plan.name, _amounts(plan.api_key), _amounts(plan.user), _amounts(plan.org))


def _amounts(limits: pb.PlanLimits) -> Amounts:
    # A limit of 0 is set, and is a limit: presence tells the two apart.
    return {descriptor.name: value for descriptor, value in limits.ListFields()}
