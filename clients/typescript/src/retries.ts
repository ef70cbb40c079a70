/** Which calls are tried again, and after what wait. */
import type { DescMethod } from "@bufbuild/protobuf";
import type { PromptmeshError } from "./errors.js";
import { backoffMs } from "./timing.js";

/** Tries of one call, the first included. */
export const MAX_ATTEMPTS = 4;
/** The first wait, which doubles. */
export const BACKOFF_BASE_MS = 200;
/** The longest wait that is our own choice. */
export const BACKOFF_CAP_MS = 5_000;
/** The longest wait that the mesh may ask for; longer ones are the caller's to decide. */
export const RETRY_AFTER_CAP_MS = 10_000;

const READ = /^(Get|List|CountTokens)/;

/** Whether a second try of the call cannot do anything twice: reads, and creates that carry a request id. */
export function isSafeToRepeat(method: DescMethod, request: unknown): boolean {
  if (READ.test(method.name)) return true;
  return Boolean((request as { requestId?: string } | undefined)?.requestId);
}

/** How long to wait before try `attempt + 1`; undefined: there is none. */
export function retryWaitMs(error: PromptmeshError, attempt: number, random: () => number): number | undefined {
  if (attempt >= MAX_ATTEMPTS) return undefined;
  const askedMs = error.retryAfterMs;
  const passing = error.code === "UNAVAILABLE" || (error.code === "RESOURCE_EXHAUSTED" && askedMs !== undefined);
  if (!passing || (askedMs ?? 0) > RETRY_AFTER_CAP_MS) return undefined;
  // Never before the time that the mesh named, and not all at that time together.
  return (askedMs ?? 0) + backoffMs(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS, random);
}
