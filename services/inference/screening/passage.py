"""What moderation does on the way of a call, by the policy of its route: before the provider, and with its answer.

What a caller wrote is masked first and screened as it leaves; what a model wrote is screened as it came, and then what
was masked is put back. So moderation sees no personal data either, and a caller gets back what they wrote themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import orjson
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.providers.base import Part
from services.inference.routing.route import ModerationPolicy
from services.inference.screening import answers, metrics
from services.inference.screening.cleared import Cleared
from services.inference.screening.masking import Masks
from services.inference.screening.moderator import Moderator, Verdict, unavailable
from services.inference.screening.options import ScreeningOptions
from services.inference.screening.reading import Reading
from services.inference.screening.restoring import escaped
from services.inference.screening.rewriting import Rewriter
from services.inference.screening.slices import slices_of
from services.inference.screening.texts import Place, places_of
from services.mesh.errors import FieldViolation, MeshError


class Screening:
    """One a process. `stub`: moderation's, with `BatchScreen`; None: what a route wants screened is refused."""

    def __init__(
        self,
        stub: Any,
        options: ScreeningOptions | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options or ScreeningOptions()
        self.moderator = Moderator(stub, calls_max=self.options.calls_max, timeout_s=self.options.wait_ms / 1000)
        self.cleared = Cleared(
            ttl_s=self.options.cleared_ttl_s, entries_max=self.options.cleared_max, monotonic=monotonic
        )

    def begin(self, call: ModelCall) -> Passage:
        """For a call whose route has a policy: masks what is to be masked, in `call.body`, and asks nobody yet."""
        return Passage(self, call)

    async def close(self) -> None:
        """Ends what is under way."""
        await self.moderator.close()


class Passage:
    """Of one call: `screen_input` before the provider, then `answer` or `stream`.

    `grown_bytes`: by how much the input became longer, so that more of it has to be reserved.
    """

    def __init__(self, screening: Screening, call: ModelCall) -> None:
        self._screening = screening
        self._call = call
        self._policy: ModerationPolicy = call.route.moderation
        self.grown_bytes = 0
        masks = Masks()
        if self._policy.screen_output:
            _check_screenable(call)
        if self._policy.mask_personal_data:
            call.body = masks.mask(call.body)
            self.grown_bytes = masks.grown_bytes
            metrics.MASKED.inc(len(masks.values))
        self._values = masks.values if self._policy.restore_personal_data else {}
        wanted = call.body.get("response_format")
        self._json_content = isinstance(wanted, dict) and str(wanted.get("type")).startswith("json")

    async def screen_input(self) -> None:
        """MeshError CONTENT_REFUSED names the message and the rule; SCREENING_UNAVAILABLE: nobody could say."""
        if not self._policy.screen_input:
            return
        cleared, caller = self._screening.cleared, self._call.caller
        tenant = caller.org_id or caller.service
        places = places_of(self._call.body)
        digests = [cleared.digest(tenant, place.text) for place in places]
        asked: list[tuple[Place, bytes, list[str]]] = []
        for place, digest in zip(places, digests, strict=True):
            if cleared.has(digest):
                metrics.REMEMBERED.inc()
            else:
                asked.append((place, digest, slices_of(place.text)))
        texts = [piece for _, _, pieces in asked for piece in pieces]
        if not texts:
            return
        verdicts = iter(await self._verdicts(texts, pb.SURFACE_INPUT, patient=False))
        refused: tuple[Place, Verdict] | None = None
        for place, digest, pieces in asked:
            own = [next(verdicts) for _ in pieces]
            against = next((verdict for verdict in own if not verdict.allowed), None)
            if against is not None:
                refused = refused or (place, against)
            elif own:
                cleared.put(digest, own[-1].policy_version)
        if refused is not None:
            raise _input_refused(*refused)

    async def answer(self, data: bytes, info: AnswerInfo) -> bytes:
        """A whole answer as it may go out; MeshError as for streams."""
        if not (self._policy.screen_output or self._values):
            return data
        answer = orjson.loads(data)
        if self._policy.screen_output:
            if answers.without_logprobs(answer):
                data = orjson.dumps(answer)
            await self._clear(answers.texts_to_screen(answer, self._known_names()))
        if self._values:
            data = answers.with_restored(answer, self._values, escaped(self._values), json_content=self._json_content)
        return data

    def stream(self, parts: AsyncGenerator[Part, None], info: AnswerInfo) -> AsyncGenerator[Part, None]:
        """A stream as it may go out. Ends in CONTENT_REFUSED where a text is refused, and SCREENING_UNAVAILABLE where
        moderation is away for too long: what went out until then was cleared, and the provider's call is aborted."""
        if self._policy.screen_output:
            return self._screened(parts, info)
        return self._restored(parts) if self._values else parts

    async def _restored(self, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
        rewriter = self._rewriter()
        failure: MeshError | None = None
        try:
            try:
                async for part in parts:
                    rewriter.take(part)
                    for one in rewriter.release():
                        yield one
            except MeshError as error:
                failure = error
            rewriter.end()
            for one in rewriter.release():
                yield one
            if failure is not None:
                raise failure
            if rewriter.done is not None:
                yield rewriter.done
        finally:
            await parts.aclose()

    async def _screened(self, parts: AsyncGenerator[Part, None], info: AnswerInfo) -> AsyncGenerator[Part, None]:
        rewriter = self._rewriter()
        reading = Reading(parts)
        clock = asyncio.get_running_loop().time
        flush_s = self._screening.options.flush_ms / 1000
        flush_time: float | None = None
        ended = False
        failure: MeshError | None = None
        try:
            while not ended:
                try:
                    ready = await reading.next(flush_time)
                except MeshError as error:
                    # What came before the fault goes out as it would have without screening.
                    failure, ready = error, None
                if ready is None:
                    ended = True
                    rewriter.end()
                else:
                    for part in ready:
                        rewriter.take(part)
                    if not ready or (flush_time is not None and clock() >= flush_time):
                        rewriter.flush()
                        flush_time = None
                if rewriter.texts:
                    await self._clear(rewriter.texts)
                for one in rewriter.release():
                    yield one
                if not rewriter.waits:
                    flush_time = None
                elif flush_time is None and ready:
                    flush_time = clock() + flush_s
            if failure is not None:
                raise failure
            if rewriter.done is not None:
                yield rewriter.done
        except MeshError as error:
            info.aborted = error is not failure  # nobody waits for its usage: it is not drained
            raise
        finally:
            await reading.close()

    def _rewriter(self) -> Rewriter:
        return Rewriter(
            screens=self._policy.screen_output,
            values=self._values,
            json_values=escaped(self._values),
            json_content=self._json_content,
            known=self._known_names(),
        )

    def _known_names(self) -> frozenset[str]:
        """Of the caller's tools."""
        names: set[str] = set()
        for field in ("tools", "functions"):
            for tool in self._call.body.get(field) or ():
                function = tool.get("function", tool) if isinstance(tool, dict) else None
                if isinstance(function, dict) and isinstance(function.get("name"), str):
                    names.add(function["name"])
        return frozenset(names)

    async def _clear(self, texts: Sequence[str]) -> None:
        if not texts:
            return
        for verdict in await self._verdicts(texts, pb.SURFACE_OUTPUT, patient=True):
            if not verdict.allowed:
                raise _output_refused(verdict)

    async def _verdicts(self, texts: Sequence[str], surface: pb.Surface.ValueType, *, patient: bool) -> list[Verdict]:
        screening, call = self._screening, self._call
        until = asyncio.get_running_loop().time() + screening.options.wait_ms / 1000
        # Callers may follow the call of another one, whose deadline is not theirs.
        if call.deadline is not None and call.route.cache is None:
            until = min(until, call.deadline)
        verdicts = await screening.moderator.verdicts(texts, surface, until, patient=patient)
        if len(verdicts) != len(texts):
            raise unavailable()
        for verdict in verdicts:
            screening.cleared.saw(verdict.policy_version)
            (metrics.CLEARED if verdict.allowed else metrics.REFUSED).inc()
        return verdicts


def _check_screenable(call: ModelCall) -> None:
    """What cannot be screened is refused, and not left out in silence."""
    body = call.body
    modalities = body.get("modalities")
    audio = isinstance(modalities, list) and "audio" in modalities
    for param, asked in (("logprobs", body.get("logprobs")), ("modalities", audio)):
        if asked:
            message = (
                f"`{param}` cannot be had of {call.route.name!r}: its answers are screened, and "
                f"{'sound' if param == 'modalities' else 'tokens that were not said'} cannot be. Leave it out."
            )
            raise MeshError(
                "INVALID_FIELD", message, metadata={"param": param}, violations=[FieldViolation(param, message)]
            )


def _input_refused(place: Place, verdict: Verdict) -> MeshError:
    metadata = {"param": place.param, **_why(verdict)}
    if place.message >= 0:
        metadata["message"] = str(place.message)
    message = (
        f"`{place.param}` was refused{_by(verdict)}: this model's input is screened. Nothing was sent to a provider, "
        "and nothing was charged. Change it and call again."
    )
    return MeshError("CONTENT_REFUSED", message, metadata=metadata, violations=[FieldViolation(place.param, message)])


def _output_refused(verdict: Verdict) -> MeshError:
    return MeshError(
        "CONTENT_REFUSED",
        f"What the model went on to write was refused{_by(verdict)}: this model's answers are screened. What was shown "
        "had been cleared; what was written is charged.",
        metadata=_why(verdict),
    )


def _why(verdict: Verdict) -> dict[str, str]:
    return {name: said for name, said in (("rule", verdict.rule), ("category", verdict.category)) if said}


def _by(verdict: Verdict) -> str:
    return f" by the rule {verdict.rule!r}" if verdict.rule else ""
