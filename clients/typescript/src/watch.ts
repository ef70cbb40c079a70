/** Watches that go on: after a cut, a restart of the server or a lost network they resume where they were. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceClient } from "./calls.js";
import { PromptmeshError, StreamCutError } from "./errors.js";
import {
  type PostService,
  type WatchFeedRequestSchema,
  type WatchFeedResponse,
  type WatchPostRequestSchema,
  type WatchPostResponse,
} from "./gen/promptmesh/prompts/v1/posts_pb.js";
import { backoffMs, realTiming, type Timing } from "./timing.js";
import type { CallOptions } from "./transport.js";

/** The first wait before a watch is resumed; it doubles. */
export const RESUME_BASE_MS = 500;
/** The longest wait before a watch is resumed. */
export const RESUME_CAP_MS = 30_000;
/** A stream that says nothing for so long is dead: the mesh sends a heartbeat every 15 seconds. */
export const SILENCE_MS = 45_000;

/** How a watch fares, to be shown. */
export type WatchState =
  | { readonly state: "connecting" }
  | { readonly state: "live" }
  | { readonly state: "waiting"; readonly error: PromptmeshError; readonly retryInMs: number };

export interface WatchOptions {
  /** Ends the watch; the iterator then returns without an error. */
  readonly signal?: AbortSignal;
  /** Called when the watch connects, is live, or waits to resume. */
  readonly onState?: (state: WatchState) => void;
  /**
   * Called where the cursor is older than what the mesh keeps: read afresh what you show; the watch then goes on from
   * now. Without it such a watch throws CURSOR_EXPIRED.
   */
  readonly onGap?: () => void | Promise<void>;
  /** Time and chance, for tests. */
  readonly timing?: Timing;
  readonly silenceMs?: number;
}

type Posts = Pick<ServiceClient<typeof PostService>, "watchFeed" | "watchPost">;

/**
 * Watches the feed and resumes after every interruption. Yields posts, posts gone and pieces of examples; heartbeats and
 * ends are kept back. Ends when the signal is aborted; throws what cannot be mended by trying again.
 */
export async function* watchFeed(
  posts: Posts,
  request: MessageInitShape<typeof WatchFeedRequestSchema> = {},
  options: WatchOptions = {},
): AsyncGenerator<WatchFeedResponse, void, undefined> {
  let { after } = request;
  const { tag = "" } = request;
  const forget = () => (after = undefined);
  const open = (call: CallOptions) => posts.watchFeed(after === undefined ? { tag } : { tag, after }, call);
  for await (const message of resuming(open, options, forget)) {
    after = message.cursor;
    if (message.event.case !== "heartbeat" && message.event.case !== "done") yield message;
  }
}

/**
 * Watches one post and resumes after every interruption; each time the post as it is comes first, with the example's
 * text so far. Ends after `done` when the post is deleted.
 */
export async function* watchPost(
  posts: Posts,
  request: MessageInitShape<typeof WatchPostRequestSchema>,
  options: WatchOptions = {},
): AsyncGenerator<WatchPostResponse, void, undefined> {
  for await (const message of resuming((call) => posts.watchPost(request, call), options)) {
    const deleted = message.event.case === "done" && message.event.value.reason === WATCH_END_DELETED;
    if (deleted || (message.event.case !== "heartbeat" && message.event.case !== "done")) yield message;
    if (deleted) return;
  }
}

const WATCH_END_DELETED = 1; // the number, so that a bundle need not carry the enum

async function* resuming<T extends WatchFeedResponse | WatchPostResponse>(
  open: (call: CallOptions) => AsyncIterable<T>,
  options: WatchOptions,
  forget?: () => void,
): AsyncGenerator<T, void, undefined> {
  const { signal, onState, onGap, timing = realTiming, silenceMs = SILENCE_MS } = options;
  for (let failures = 0; !signal?.aborted; ) {
    let error: PromptmeshError;
    let inOrder = false;
    const silence = new Silence(silenceMs, signal);
    try {
      onState?.({ state: "connecting" });
      let live = false;
      for await (const message of open({ signal: silence.signal, timeoutMs: 0 })) {
        silence.broken();
        failures = 0;
        if (!live) onState?.({ state: "live" });
        live = true;
        yield message;
        // How long the reader took says nothing about the stream.
        silence.broken();
      }
      // After `done`: this server goes away, or the credential ended. Another connection is all that it takes.
      inOrder = true;
      error = new StreamCutError("");
    } catch (caught) {
      if (signal?.aborted) return;
      if (!(caught instanceof PromptmeshError)) throw caught;
      error = silence.signal.aborted ? new StreamCutError(caught.requestId, caught) : caught;
    } finally {
      silence.end();
    }
    if (error.reason === "CURSOR_EXPIRED" && onGap && forget) {
      forget();
      await onGap();
      continue;
    }
    if (!RESUMABLE.has(error.code)) throw error;
    failures++;
    const retryInMs = (error.retryAfterMs ?? 0) + backoffMs(failures, RESUME_BASE_MS, RESUME_CAP_MS, timing.random);
    if (!inOrder) onState?.({ state: "waiting", error, retryInMs });
    try {
      await untilOnline(retryInMs, timing, signal);
    } catch {
      return; // aborted while it waited
    }
  }
}

const RESUMABLE: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "RESOURCE_EXHAUSTED",
  "ABORTED",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "INTERNAL",
  "UNKNOWN",
]);

/** Waits, but no longer than until the browser says that the network is back. */
async function untilOnline(waitMs: number, timing: Timing, signal: AbortSignal | undefined): Promise<void> {
  const over = new AbortController();
  const abort = () => over.abort();
  signal?.addEventListener("abort", abort, { once: true });
  globalThis.addEventListener?.("online", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    await timing.sleep(waitMs, over.signal);
  } catch (error) {
    if (signal?.aborted) throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
    globalThis.removeEventListener?.("online", abort);
  }
}

/** A signal that is aborted with the caller's, and when nothing was heard for too long. */
class Silence {
  readonly #controller = new AbortController();
  readonly #limitMs: number;
  readonly #caller: AbortSignal | undefined;
  readonly #abort = () => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout>;

  constructor(limitMs: number, caller: AbortSignal | undefined) {
    this.#limitMs = limitMs;
    this.#caller = caller;
    if (caller?.aborted) this.#abort();
    caller?.addEventListener("abort", this.#abort, { once: true });
    this.#timer = setTimeout(this.#abort, limitMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something was heard. */
  broken(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, this.#limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
  }
}
