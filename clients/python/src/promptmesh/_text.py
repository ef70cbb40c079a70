"""The text of an answer, gathered from a stream of events."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptmesh import types


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A whole answer."""

    text: str
    model: str  # that answered
    finish_reason: types.FinishReason.ValueType  # FINISH_REASON_LENGTH: it was cut by max_output_tokens
    usage: types.Usage  # tokens and cost_nanos, which is not set where the price is unknown
    record_id: str  # of the receipt: `client.usage.get_request(id=…)`

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Gathering:
    """What has come so far."""

    parts: list[str] = field(default_factory=list)
    model: str = ""
    usage: types.Usage = field(default_factory=types.Usage)
    done: types.GenerateDone = field(default_factory=types.GenerateDone)

    def add(self, event: types.GenerateResponse) -> None:
        match event.WhichOneof("event"):
            case "started":
                self.model = event.started.model
                if event.started.restarted:  # another model begins anew: what came before is void
                    self.parts.clear()
            case "delta" if event.delta.candidate == 0:
                self.parts.append(event.delta.text)
            case "usage":
                self.usage = event.usage
            case "done":
                self.done = event.done
            case _:
                pass

    def text(self) -> GeneratedText:
        return GeneratedText("".join(self.parts), self.model, self.done.finish_reason, self.usage, self.done.record_id)


def conversation(prompt: str, system: str) -> list[types.Message]:
    """A question, under instructions if there are any."""
    asked = types.Message(role=types.MESSAGE_ROLE_USER, content=prompt)
    return [types.Message(role=types.MESSAGE_ROLE_SYSTEM, content=system), asked] if system else [asked]
