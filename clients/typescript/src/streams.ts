/** What a stream's messages say about its end. */
import type { DescMessage } from "@bufbuild/protobuf";
import { PromptmeshError, statusCode, StreamCutError } from "./errors.js";

interface Event {
  readonly case?: string;
  readonly value?: { readonly code?: number; readonly reason?: string; readonly message?: string; readonly requestId?: string };
}

/** Whether streams of the type end with a `done` (or `error`) event: then one that ends without it was cut. */
export function hasTerminalEvent(output: DescMessage): boolean {
  const event = output.oneofs.find((one) => one.localName === "event");
  return event?.fields.some((field) => field.localName === "done") ?? false;
}

/**
 * Hands the messages of an open stream on, and throws where it failed: PromptmeshError for an `error` event and for what
 * the mesh refused, StreamCutError where the connection broke or the terminal event is missing.
 */
export async function* whole<T>(
  messages: AsyncIterable<T>,
  terminal: boolean,
  requestId: string,
): AsyncGenerator<T, void, undefined> {
  let ended = false;
  try {
    for await (const message of messages) {
      if (terminal) {
        const event = (message as { event?: Event }).event;
        if (event?.case === "started") requestId = event.value?.requestId || requestId;
        if (event?.case === "error") throw brokenOff(event, requestId);
        ended ||= event?.case === "done";
      }
      yield message;
    }
  } catch (caught) {
    if (ended) return; // all of it came; what happens to the connection then changes nothing
    const cut = caught instanceof PromptmeshError && caught.reason === "CONNECTION_FAILED";
    throw cut ? new StreamCutError(requestId, caught) : caught;
  }
  if (terminal && !ended) throw new StreamCutError(requestId);
}

function brokenOff({ value }: Event, requestId: string): PromptmeshError {
  return new PromptmeshError({
    code: statusCode(value?.code ?? 2),
    reason: value?.reason || "UNEXPECTED",
    message: value?.message || "The answer broke off.",
    requestId,
  });
}
