/* Errors in words for a person: what happened and what to do next. */
import { PromptmeshError } from "@promptmesh/client";

export interface Problem {
  text: string;
  /** By which an operator finds it; only of what went wrong on the mesh's side. */
  requestId?: string;
  /** Whether doing the same again can help. */
  retryable: boolean;
}

const UNLOADED =
  "Its code did not arrive: the network is gone, or the app has just been renewed. Try again; what you typed is kept.";
const HELPLESS = new Set<string>(["NOT_FOUND", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "FAILED_PRECONDITION"]);

/** What nobody who reads it has brought about: there the request's id helps, and is shown. */
const FAULTS = new Set<string>(["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"]);

export function problemOf(error: unknown): Problem {
  if (error instanceof PromptmeshError) {
    const wait = error.retryAfterMs;
    const text = error.message || "Something went wrong on our side.";
    const id = error.requestId && FAULTS.has(error.code) ? { requestId: error.requestId } : {};
    return {
      text: wait ? `${sentence(text)} Try again in ${seconds(wait)}.` : sentence(text),
      ...id,
      retryable: !HELPLESS.has(error.code),
    };
  }
  // What `import()` of a page's code fails with.
  if (error instanceof TypeError && /fetch|import|load/i.test(error.message)) return { text: UNLOADED, retryable: true };
  return { text: "Something went wrong in this page. Reload it; what you typed is kept.", retryable: true };
}

/** Whether somebody stopped it: nothing to show. */
export const isAbort = (error: unknown): boolean =>
  (error instanceof PromptmeshError && error.reason === "CANCELLED") ||
  (error instanceof DOMException && error.name === "AbortError");

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

function seconds(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms / 1000));
  return whole === 1 ? "a second" : whole < 90 ? `${whole} seconds` : `${Math.ceil(whole / 60)} minutes`;
}
