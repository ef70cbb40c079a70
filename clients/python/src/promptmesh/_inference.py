"""Models, with a shorter way to a text than the stream of events."""

from __future__ import annotations

from collections.abc import Mapping

from promptmesh import types
from promptmesh._async_services import AsyncInference as GeneratedAsyncInference
from promptmesh._sync_services import Inference as GeneratedInference
from promptmesh._text import Gathering, GeneratedText, conversation


class Inference(GeneratedInference):
    """Models through one typed API."""

    def generate_text(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str = "",
        sampling: types.Sampling | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> GeneratedText:
        """Asks one question and waits for the whole answer. Raises like `generate`; StreamCutError rather than half a
        text."""
        gathering = Gathering()
        with self.generate(
            messages=conversation(prompt, system), model=model, sampling=sampling, tags=tags, timeout_s=timeout_s
        ) as events:
            for event in events:
                gathering.add(event)
        return gathering.text()


class AsyncInference(GeneratedAsyncInference):
    """Models through one typed API."""

    async def generate_text(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str = "",
        sampling: types.Sampling | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> GeneratedText:
        """Asks one question and waits for the whole answer. Raises like `generate`; StreamCutError rather than half a
        text."""
        gathering = Gathering()
        async with self.generate(
            messages=conversation(prompt, system), model=model, sampling=sampling, tags=tags, timeout_s=timeout_s
        ) as events:
            async for event in events:
                gathering.add(event)
        return gathering.text()
