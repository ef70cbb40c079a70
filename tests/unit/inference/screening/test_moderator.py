"""Batches within the contract's bounds, and no text that is cleared by anything but a plain yes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from promptmesh.moderation.v1 import moderation_pb2 as pb

from services.inference.screening.cleared import Cleared
from services.inference.screening.moderator import CHARS_MAX, TEXTS_MAX, Moderator, Verdict
from services.inference.screening.slices import SLICE_CHARS, slices_of
from services.mesh.errors import MeshError
from tests.unit.inference.routing.scripted import run

WAIT_S = 5.0
INPUT = pb.SURFACE_INPUT


def allow(*texts: str) -> pb.BatchScreenResponse:
    return pb.BatchScreenResponse(screenings=[pb.Screening(verdict=pb.VERDICT_ALLOW, policy_version="1")] * len(texts))


class Stub:
    """Moderation, as `answer` says; remembers batches."""

    def __init__(self, answer: Callable[..., Any] = allow) -> None:
        self.answer = answer
        self.batches: list[list[str]] = []
        self.at_once = self.most = 0
        self.gate: Callable[[], Awaitable[Any]] | None = None

    async def BatchScreen(self, request: pb.BatchScreenRequest, timeout: float) -> Any:
        assert timeout == WAIT_S
        texts = [one.text for one in request.requests]
        self.batches.append(texts)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if self.gate is not None:
                await self.gate()
            answer = self.answer(*texts)
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.at_once -= 1


def moderator(stub: Any) -> Moderator:
    return Moderator(stub, calls_max=2, timeout_s=WAIT_S)


async def ask(asked: Moderator, *texts: str, patient: bool = False) -> list[Verdict]:
    until = asyncio.get_running_loop().time() + WAIT_S
    return await asked.verdicts(texts, INPUT, until, patient=patient)


async def refused(asked: Moderator, *texts: str, patient: bool = False) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await ask(asked, *texts, patient=patient)
    assert caught.value.reason == "SCREENING_UNAVAILABLE"
    assert caught.value.retry_after_s
    return caught.value


def test_many_callers_at_once_share_a_call() -> None:
    async def main() -> None:
        stub = Stub()
        asked = moderator(stub)
        answers = await asyncio.gather(*(ask(asked, f"{i}a", f"{i}b") for i in range(10)))
        assert all(verdict.allowed for answer in answers for verdict in answer)
        assert [len(batch) for batch in stub.batches] == [20]

    run(main())


def test_a_batch_is_within_the_contract_and_few_are_under_way() -> None:
    async def main() -> None:
        stub = Stub()
        stub.gate = lambda: asyncio.sleep(0.01)
        asked = moderator(stub)
        await asyncio.gather(ask(asked, *["x" * 8192] * 40), ask(asked, *["y"] * 200))
        assert stub.most == 2
        assert sum(len(batch) for batch in stub.batches) == 240
        for batch in stub.batches:
            assert len(batch) <= TEXTS_MAX
            assert sum(map(len, batch)) <= CHARS_MAX

    run(main())


def short(*texts: str) -> Any:
    return allow(*texts[1:])


@pytest.mark.parametrize("answer", [lambda *_: OSError("gone"), lambda *_: MeshError("INTERNAL", "no"), short])
def test_whatever_goes_wrong_is_no_yes(answer: Any) -> None:
    async def main() -> None:
        stub = Stub(answer)
        await refused(moderator(stub), "a", "b")
        assert len(stub.batches) == 1, "whoever can come back is told so at once"

    run(main())


@pytest.mark.parametrize("verdict", [pb.VERDICT_UNSPECIFIED, pb.VERDICT_HOLD, pb.VERDICT_REJECT, 99])
def test_only_a_plain_yes_clears(verdict: Any) -> None:
    async def main() -> None:
        finding = pb.Finding(rule="violence.threat", category=pb.CATEGORY_VIOLENCE, verdict=pb.VERDICT_REJECT)
        noted = pb.Finding(rule="pii.email", verdict=pb.VERDICT_ALLOW)
        screening = pb.Screening(verdict=verdict, findings=[noted, finding], policy_version="3")
        stub = Stub(lambda *_: pb.BatchScreenResponse(screenings=[screening]))
        assert await ask(moderator(stub), "a") == [Verdict(False, "violence.threat", "violence", "3")]

    run(main())


def test_a_patient_caller_waits_until_moderation_is_back() -> None:
    async def main() -> None:
        stub = Stub(lambda *texts: OSError("away") if len(stub.batches) < 4 else allow(*texts))
        (verdict,) = await ask(moderator(stub), "a", patient=True)
        assert verdict.allowed
        assert len(stub.batches) == 4

    run(main())


@pytest.mark.parametrize("hangs", [False, True])
def test_the_wait_is_bounded(hangs: bool) -> None:
    async def main() -> None:
        stub = Stub(lambda *_: OSError("away"))
        stub.gate = asyncio.Event().wait if hangs else None
        asked = moderator(stub)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await refused(asked, "a", patient=True)
        assert loop.time() - begin <= WAIT_S
        await asked.close()

    run(main())


def test_without_moderation_nothing_is_cleared() -> None:
    async def main() -> None:
        await refused(moderator(None), "a", patient=True)

    run(main())


def test_who_has_gone_is_not_asked_about() -> None:
    async def main() -> None:
        stub = Stub()
        gate = asyncio.Event()
        stub.gate = gate.wait
        asked = moderator(stub)
        busy = []
        for i in range(2):
            busy.append(asyncio.create_task(ask(asked, str(i))))
            await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(ask(asked, "one")), asyncio.create_task(ask(asked, "two"))]
        busy.append(asyncio.create_task(ask(asked, "three")))
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.wait(waiting)
        gate.set()
        await asyncio.gather(*busy)
        assert [text for batch in stub.batches for text in batch] == ["0", "1", "three"]

    run(main())


def test_closing_answers_who_waits() -> None:
    async def main() -> None:
        stub = Stub()
        stub.gate = asyncio.Event().wait
        asked = moderator(stub)
        calls = [asyncio.create_task(refused(asked, str(i))) for i in range(4)]
        await asyncio.sleep(0.01)
        await asked.close()
        await asyncio.gather(*calls)
        await refused(asked, "later")

    run(main())


# Slices, and what was cleared


def test_slices_overlap_and_leave_nothing_out() -> None:
    assert slices_of("") == []
    assert slices_of("x" * SLICE_CHARS) == ["x" * SLICE_CHARS]
    text = "".join(f"{number:06d}" for number in range(20_000))
    slices = slices_of(text)
    assert all(len(one) <= SLICE_CHARS for one in slices)
    phrases = [text[at : at + 160] for at in range(0, len(text) - 160, 61)]
    assert all(any(phrase in one for one in slices) for phrase in phrases)
    assert text.endswith(slices[-1])


def test_a_padded_phrase_fits_a_slice() -> None:
    padded = "".join(letter + "\u0301" * 500 for letter in "forbidden")
    for at in range(SLICE_CHARS - 60, SLICE_CHARS + 5):
        slices = slices_of("x" * at + padded + "y" * SLICE_CHARS)
        assert any("forbidden" in one.replace("\u0301", "") for one in slices)


def test_cleared_texts_are_remembered_for_their_tenant_and_time_and_policy() -> None:
    now = [0.0]
    cleared = Cleared(ttl_s=60, entries_max=2, monotonic=lambda: now[0])
    one, other = cleared.digest("a", "text"), cleared.digest("b", "text")
    assert one != other != cleared.digest("at", "ext") != one
    cleared.put(one, "1")
    assert cleared.has(one)
    assert not cleared.has(other)
    cleared.put(other, "1")
    cleared.put(cleared.digest("c", ""), "1")
    assert not cleared.has(one), "bounded"
    now[0] = 60.0
    assert not cleared.has(other)
    cleared.put(other, "1")
    cleared.saw("1")
    assert cleared.has(other)
    cleared.saw("2")
    assert not cleared.has(other)
