"""One provider: what it is told, and what it has seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import orjson

from tests.support.provider.answering import answer
from tests.support.provider.behaviour import Behaviour
from tests.support.provider.chat import CREATED, prompt_of, refusal
from tests.support.provider.connection import Exchange
from tests.support.provider.record import KEPT_CALLS_MAX, PATIENCE_S, Record, SeenCall
from tests.support.provider.script import Script, Step, add_all, named, steps_of


class MisbehavingProvider:
    """A provider of a server; made by `running_provider`, or by `ProviderServer.provider(name)`."""

    def __init__(
        self,
        name: str,
        address: Callable[[], str],
        *,
        default: Behaviour | None = None,
        keep: int = KEPT_CALLS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.default = default or Behaviour()
        self.record = Record(keep)
        self.models = ["mock-small", "mock-large"]
        self.max_model_len: int | None = None  # told in the list of models, as vLLM does
        self.models_behaviour: Behaviour | None = None  # how GET /v1/models is answered; None: well
        self.keys: set[str] | None = None  # bearer tokens that it takes; None: any, and none
        self._address = address
        self._script = Script(clock)

    @property
    def base_url(self) -> str:
        """What a client appends `/chat/completions` to."""
        return self._address()

    @property
    def port(self) -> int:
        """Of its server."""
        return int(self._address().split(":")[2].split("/")[0])

    @property
    def calls(self) -> list[SeenCall]:
        """Requests for completions and embeddings, in the order of their arrival."""
        return self.record.calls

    @property
    def running(self) -> int:
        """Requests that are being answered now."""
        return self.record.running

    def then(self, *behaviours: Behaviour) -> None:
        """How the next requests are answered, one each; afterwards `default` again."""
        for behaviour in behaviours:
            self._script.add(Step(behaviour.fault.value, behaviour))

    def fail(self, name: str, *, times: int | None = 1, for_s: float | None = None, **changes: object) -> None:
        """Appends a fault of FAULTS to the script, changed in fields of Behaviour.

        `times`: requests that meet it; None: until told otherwise (`recover`) or for `for_s` seconds from now.
        """
        self._script.add(Step(name, named(name, **changes), times), for_s=for_s)

    def play(self, steps: object) -> None:
        """Replaces the script by steps as JSON has them, see `steps_of`. ValueError, and no change, if one is wrong."""
        made = steps_of(steps)
        self._script.clear()
        add_all(self._script, made)

    def recover(self) -> None:
        """Drops what is left of the script: `default` holds from the next request on."""
        self._script.clear()

    @property
    def steps_left(self) -> int:
        """Steps of the script that are not over."""
        return len(self._script)

    async def call(self, number: int) -> SeenCall:
        """The request of this number, from 0, as soon as it is there."""
        await self.record.until(lambda record: len(record.calls) + record.dropped > number)
        return self.calls[number - self.record.dropped]

    async def until(self, met: Callable[[Record], bool], timeout_s: float = PATIENCE_S) -> None:
        """Returns as soon as the predicate holds of the record; TimeoutError with the counters otherwise."""
        await self.record.until(met, timeout_s)

    # What its server calls.

    def arrived(self, exchange: Exchange, endpoint: str) -> tuple[Behaviour, str]:
        """Writes a request down; how it is to be answered, and by which endpoint."""
        seen = exchange.seen
        try:
            body = orjson.loads(exchange.request.body)
        except orjson.JSONDecodeError:
            body = None
        refused = refusal(body, endpoint)
        if isinstance(body, dict):
            seen.body = body
            if refused is None:
                seen.prompt, seen.prompt_tokens = prompt_of(body)
        if self.keys is not None and _bearer(exchange.request.headers) not in self.keys:
            step = Step("unauthorized", named("unauthorized"))
        elif refused is not None:
            step = Step("bad_request", Behaviour(status=400, error_message=refused))
        else:
            step = self._script.take() or Step(self.default.fault.value, self.default)
        seen.fault = step.name
        exchange.record = self.record
        self.record.arrived(seen)
        return step.behaviour, endpoint

    async def list_models(self, exchange: Exchange, name: str = "") -> None:
        """GET /v1/models, and /v1/models/{name}."""
        do = self.models_behaviour or Behaviour()
        entries = [{"id": one, "object": "model", "created": CREATED, "owned_by": "tests"} for one in self.models]
        if self.max_model_len:
            entries = [{**entry, "max_model_len": self.max_model_len} for entry in entries]
        whole: object = {"object": "list", "data": entries}
        if name:
            whole = next((entry for entry in entries if entry["id"] == name), None)
            if whole is None:
                do, whole = named("not_found"), {}
        if do.raw is None and do.status == 200:
            do = dataclasses.replace(do, raw=orjson.dumps(whole).decode())
        await answer(exchange, do, "models")


def _bearer(headers: dict[str, str]) -> str:
    given = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
    return given.removeprefix("Bearer ")
