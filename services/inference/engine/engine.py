"""The engine: one call of a model through limits, cache, attempts and ledger.

In order: room for one more call, the money and tokens reserved, personal data masked, the call journaled, its input
screened, the providers called and their answer screened, what it took settled, the call finished in the journal. What
was reserved is settled and what was journaled is finished whatever happens: an error, a caller that left, a revoked
credential.

Where a route has a cache, the paid part runs for whoever asks first; those who ask the same meanwhile, or later, get a
receipt of their own that cost nothing. What is kept and joined is the answer as it goes out: screened, and with what
was masked in its place again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import AnswerCache, Ticket
from services.inference.concurrency import Concurrency
from services.inference.engine import money
from services.inference.engine.accounts import Accounts
from services.inference.engine.call import AnswerInfo, AttemptRecord, ModelCall
from services.inference.engine.texts import OutputText
from services.inference.ledger.record import CallRecord
from services.inference.limits.limits import Limits
from services.inference.limits.reservation import Reservation
from services.inference.providers.base import Part
from services.inference.routing.attempts import Attempts
from services.inference.routing.route import Route, Target
from services.inference.screening.passage import Passage, Screening
from services.mesh.errors import MeshError

_BYPASS, _MISS = pb.CACHE_DECISION_BYPASS, pb.CACHE_DECISION_MISS
_REFRESH = pb.CACHE_DECISION_REFRESH
_FREE = frozenset({pb.CACHE_DECISION_HIT, pb.CACHE_DECISION_JOINED})
_Paid = Callable[[ModelCall, AnswerInfo], AsyncGenerator[Part, None]]


class Engine:
    """See the module. One a process."""

    def __init__(
        self,
        attempts: Attempts,
        limits: Limits,
        accounts: Accounts,
        cache: AnswerCache,
        concurrency: Concurrency,
        screening: Screening,
    ) -> None:
        self._attempts = attempts
        self._limits = limits
        self._accounts = accounts
        self._cache = cache
        self._concurrency = concurrency
        self._screening = screening
        self._priced: dict[str, tuple[Route, Route | None]] = {}  # routes without the targets whose price is unknown
        # Calls whose callers have gone while their provider is read to its end, for exact usage: by id of their info.
        self._draining: dict[int, Callable[[], None]] = {}

    def drained(self, info: AnswerInfo, attempt: AttemptRecord) -> None:
        """The provider of a call whose caller has gone has been read to its end: now it can be settled."""
        settle = self._draining.get(id(info))
        if settle is not None and not _drains(info):
            del self._draining[id(info)]
            settle()

    async def complete(self, call: ModelCall) -> bytes:
        """A whole answer, or vectors, as JSON. MeshError says why there is none."""
        if call.route.cache is None:
            return await self._paid_complete(call, call.info)
        data = b""
        async with aclosing(self._cached(call, self._paid_part)) as parts:
            async for part in parts:
                data = part.data
        return data

    def stream(self, call: ModelCall) -> AsyncGenerator[Part, None]:
        """An answer as it comes. Closing it, or cancelling the task, aborts the call of the provider."""
        if call.route.cache is None:
            return self._paid_stream(call, call.info)
        return self._cached(call, self._paid_stream)

    def stream_own(self, call: ModelCall) -> AsyncGenerator[Part, None]:
        """As `stream`, of a call that the mesh makes for itself: no cache, and no limits but its maker's own."""
        return self._answer(call, call.info, None)

    # What is paid for

    async def _paid_complete(self, call: ModelCall, info: AnswerInfo) -> bytes:
        reservation = await self._admit(call)
        record: CallRecord | None = None
        passage: Passage | None = None
        outcome, reason = pb.OUTCOME_CANCELLED, ""
        try:
            if call.route.moderation.any:
                passage = await self._passage(call, reservation)
            record = self._accounts.open(call)
            if passage is not None:
                await passage.screen_input()
            if call.surface == pb.SURFACE_EMBEDDINGS:
                data = await self._attempts.embed(call, info)
            else:
                data = await self._attempts.complete(call, info)
                if passage is not None:
                    data = await passage.answer(data, info)
                if (kept := self._accounts.output_text()) is not None:
                    kept.see(Part(data, []), whole=True)
                    record.output_text = kept.text
            outcome = pb.OUTCOME_OK
            return data
        except MeshError as error:
            outcome, reason = pb.OUTCOME_FAILED, error.reason
            raise
        finally:
            self._close(call, info, reservation, record, outcome, reason)

    async def _paid_part(self, call: ModelCall, info: AnswerInfo) -> AsyncGenerator[Part, None]:
        yield Part(await self._paid_complete(call, info), [])

    async def _paid_stream(self, call: ModelCall, info: AnswerInfo) -> AsyncGenerator[Part, None]:
        reservation = await self._admit(call)
        async with aclosing(self._answer(call, info, reservation)) as parts:
            async for part in parts:
                yield part

    async def _answer(
        self, call: ModelCall, info: AnswerInfo, reservation: Reservation | None
    ) -> AsyncGenerator[Part, None]:
        record: CallRecord | None = None
        passage: Passage | None = None
        kept: OutputText | None = None
        outcome, reason = pb.OUTCOME_CANCELLED, ""
        try:
            if call.route.moderation.any:
                passage = await self._passage(call, reservation)
            record = self._accounts.open(call)
            kept = self._accounts.output_text()
            source = self._attempts.stream(call, info)
            if passage is not None:
                await passage.screen_input()
                source = passage.stream(source, info)
            async with aclosing(source) as parts:
                async for part in parts:
                    target = info.target
                    if target is not None:
                        call.answer_model, call.answer_provider = target.name, target.provider.name
                    if kept is not None:
                        kept.see(part)
                    yield part
            outcome = pb.OUTCOME_OK
        except MeshError as error:
            outcome, reason = pb.OUTCOME_FAILED, error.reason
            raise
        finally:
            if kept is not None and record is not None:
                record.output_text = kept.text
            self._close(call, info, reservation, record, outcome, reason)

    async def _passage(self, call: ModelCall, reservation: Reservation | None) -> Passage:
        """The call with its personal data masked; what that makes longer is reserved too."""
        passage = self._screening.begin(call)
        if passage.grown_bytes:
            nanos = money.largest_route_cost_nanos(call)
            call.input_tokens_max += passage.grown_bytes
            grown = money.largest_route_cost_nanos(call)
            if reservation is not None:
                more = None if nanos is None or grown is None else grown - nanos
                await reservation.extend(passage.grown_bytes, more)
        return passage

    async def _admit(self, call: ModelCall) -> Reservation:
        """Room, tokens and money for a call."""
        self._concurrency.enter(call.caller)
        try:
            reservation = await self._reserve(call)
        except BaseException:
            self._concurrency.leave(call.caller)
            raise
        call.remaining = reservation.remaining
        call.before_attempt_again = lambda target: self._reserve_more(call, reservation, target)
        return reservation

    def _lower_cap(self, call: ModelCall) -> None:
        cap = self._limits.output_tokens_max(call.caller)
        if cap is not None and cap < call.output_cap:
            call.output_cap = cap

    async def _reserve(self, call: ModelCall) -> Reservation:
        self._lower_cap(call)
        tokens, nanos = money.largest_tokens(call), money.largest_route_cost_nanos(call)
        try:
            return await self._limits.reserve(call.caller, tokens=tokens, nanos=nanos)
        except MeshError as error:
            if error.reason != "PRICE_UNKNOWN":
                raise
            known = self._priced_of(call.route)
            if known is None:
                raise
            # A limit on money holds: only what has a price can be held against it.
            call.route = known
            return await self._limits.reserve(call.caller, tokens=tokens, nanos=money.largest_route_cost_nanos(call))

    def _priced_of(self, route: Route) -> Route | None:
        found = self._priced.get(route.name)
        if found is None or found[0] is not route:
            targets = money.priced(route)
            made = replace(route, targets=targets, variant="priced") if targets else None
            found = self._priced[route.name] = (route, made)
        return found[1]

    async def _reserve_more(self, call: ModelCall, reservation: Reservation, target: Target) -> None:
        await reservation.extend(money.largest_tokens(call), money.largest_cost_nanos(call, target))

    def _close(
        self,
        call: ModelCall,
        info: AnswerInfo,
        reservation: Reservation | None,
        record: CallRecord | None,
        outcome: pb.Outcome.ValueType,
        reason: str,
    ) -> None:
        if reservation is not None:
            self._concurrency.leave(call.caller)
        if record is None:
            # The journal took it not: nothing was called.
            if reservation is not None:
                reservation.release()
            return
        if outcome == pb.OUTCOME_CANCELLED and _drains(info):
            self._draining[id(info)] = lambda: self._settle(call, info, reservation, record, outcome, reason)
        else:
            self._settle(call, info, reservation, record, outcome, reason)

    def _settle(
        self,
        call: ModelCall,
        info: AnswerInfo,
        reservation: Reservation | None,
        record: CallRecord,
        outcome: pb.Outcome.ValueType,
        reason: str,
    ) -> None:
        self._accounts.close(call, info, record, outcome, reason)
        if reservation is None:
            return
        if call.usage.input_tokens or call.usage.output_tokens or call.cost_nanos:
            reservation.settle(tokens=call.usage.input_tokens + call.usage.output_tokens, nanos=call.cost_nanos)
        else:
            reservation.release()

    # What the cache answers

    async def _cached(self, call: ModelCall, paid: _Paid) -> AsyncGenerator[Part, None]:
        policy = call.route.cache
        assert policy is not None, "looked at before"
        self._lower_cap(call)  # it is part of what the answer is kept under
        control = call.cache

        def produce(info: AnswerInfo) -> AsyncGenerator[Part, None]:
            # It may go on for others after this caller has left, whose deadline is not theirs.
            call.info, call.deadline = info, None
            call.decision = _BYPASS if control.bypass else _REFRESH if control.refresh else _MISS
            return paid(call, info)

        ticket = await self._cache.open(call, policy, produce)
        call.decision = ticket.decision
        if ticket.decision not in _FREE:
            call.info = ticket.info
            async with aclosing(ticket.parts) as parts:
                async for part in parts:
                    yield part
            return
        async with aclosing(self._free(call, ticket)) as parts:
            async for part in parts:
                yield part

    async def _free(self, call: ModelCall, ticket: Ticket) -> AsyncGenerator[Part, None]:
        """An answer that costs nothing; it counts as a call all the same."""
        outcome, reason = pb.OUTCOME_CANCELLED, ""
        record: CallRecord | None = None
        reservation: Reservation | None = None
        kept = self._accounts.output_text()
        try:
            async with aclosing(ticket.parts) as parts:
                reservation = await self._limits.reserve(call.caller, tokens=0, nanos=0)
                call.remaining = reservation.remaining
                record = self._accounts.open_free(call)
                async for part in parts:
                    call.answer_model, call.answer_provider = ticket.model, ticket.provider
                    if kept is not None:
                        kept.see(part, whole=not call.streamed)
                    yield part
            outcome = pb.OUTCOME_OK
        except MeshError as error:
            outcome, reason = pb.OUTCOME_FAILED, error.reason
            raise
        finally:
            if record is not None:
                if kept is not None:
                    record.output_text = kept.text
                self._accounts.close_free(call, ticket, record, outcome, reason)
            if reservation is not None:
                reservation.release()


def _drains(info: AnswerInfo) -> bool:
    return any(not attempt.end_time for attempt in info.attempts)
