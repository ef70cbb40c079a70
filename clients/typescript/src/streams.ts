/** What a stream's messages say about its end. */
import type { DescMessage } from "@bufbuild/protobuf";
import { PromptmeshError, statusCode, StreamCutError } from "./errors.js";

type Event = { readonly case?: string; readonly value?: { code?: number; reason?: string; message?: string; requestId?: string } };

/** Whether streams of the type end with a `done` (or `error`) event: then one that ends without it was cut. */
export function hasTerminalEvent(output: DescMessage): boolean {
  const event = output.oneofs.find((one) => one.localName === "event");
  return event?.fields.some((field) => field.localName === "done") ?? false;
}

/**
 * Hands the messages on, and throws where the stream failed: PromptmeshError for an `error` event, StreamCutError where
 * the terminal event is missing. What `failure` makes of an exception is thrown where the mesh itself gave a reason.
 */
export async function* whole<T>(
  messages: AsyncIterable<T>,
  terminal: boolean,
  requestId: string,
  failure: (caught: unknown) => PromptmeshError,
): AsyncGenerator<T, void, undefined> {
  let ended = false;
  try {
    for await (const message of messages) {
      const event = (message as { event?: Event }).event;
      if (terminal && event?.case === "started") requestId = event.value?.requestId || requestId;
      if (terminal && event?.case === "error") {
        ended = true;
        throw new PromptmeshError({
          code: statusCode(event.value?.code ?? 2),
          reason: event.value?.reason || "UNEXPECTED",
          message: event.value?.message || "The answer broke off.",
          requestId,
        });
      }
      ended ||= event?.case === "done";
      yield message;
    }
  } catch (caught) {
    if (caught instanceof PromptmeshError) throw caught;
    if (terminal && ended) return; // all of it came; what happens to the connection then changes nothing
    const error = failure(caught);
    throw error.reason === "CONNECTION_FAILED" ? new StreamCutError(requestId, caught) : error;
  }
  if (terminal && !ended) throw new StreamCutError(requestId);
}
