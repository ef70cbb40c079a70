/** Carries calls to the edge: credentials, deadlines, retries, and errors that say what happened. */
import {
  create,
  toBinary,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { cancelled, connectionFailed, deadlinePassed, PromptmeshError, requestUnsendable } from "./errors.js";
import { frame, send, type Receiving } from "./grpc_web.js";
import { isSafeToRepeat, retryWaitMs } from "./retries.js";
import { hasTerminalEvent, whole } from "./streams.js";
import { realTiming, type Timing } from "./timing.js";

/** Deadline of a unary call where the caller sets none. */
export const DEFAULT_TIMEOUT_MS = 30_000;

/** UNAUTHENTICATED for what the request brings, not for the credential that it came with. */
const ABOUT_THE_REQUEST: ReadonlySet<string> = new Set(["LOGIN_FAILED", "PROOF_WRONG"]);

/** What one call may set. */
export interface CallOptions {
  /** Ends the call; it then throws CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** Deadline in milliseconds, retries included; 0: none. Streams have none unless it is set. */
  readonly timeoutMs?: number | undefined;
  /** Added to the request. With an `authorization` of its own the call gets no other credential. */
  readonly headers?: HeadersInit | undefined;
  readonly onHeader?: (headers: Headers) => void;
  readonly onTrailer?: (trailers: Headers) => void;
}

/** Where a call's credential comes from. */
export interface Credentials {
  /** The credential to send; undefined: none. */
  token(): Promise<string | undefined>;
  /** Another one after the mesh refused `rejected`; undefined: there is none. Absent: one cannot be had. */
  renew?(rejected: string): Promise<string | undefined>;
  /** Proves anew who it is, for calls that ask for it; whether that was done. Absent: nobody can be asked. */
  stepUp?(): Promise<boolean>;
}

export interface TransportOptions {
  /** Address of the edge, for example `https://mesh.example`. Empty: the page's own origin. */
  readonly baseUrl: string;
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Deadline of a unary call, its retries included, in milliseconds; 0: none. */
  readonly timeoutMs?: number | undefined;
  readonly credentials?: Credentials | undefined;
  readonly timing?: Timing | undefined;
}

export interface Transport {
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>>;
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): AsyncGenerator<MessageShape<O>, void, undefined>;
}

/** Makes the transport that all clients of one mesh share. */
export function createMeshTransport(options: TransportOptions): Transport {
  const { baseUrl, credentials, timing = realTiming, timeoutMs: standardMs = DEFAULT_TIMEOUT_MS } = options;

  /** Tries once, with the credential; once more with another, if the mesh refuses it. */
  async function authorised<T>(given: HeadersInit | undefined, limit: Limit, once: (headers: Headers) => Promise<T>) {
    const own = new Headers(given).has("authorization");
    const token = own ? undefined : await limit.race(credentials?.token());
    const headers = (credential: string | undefined): Headers => {
      const all = new Headers(given);
      if (credential !== undefined) all.set("authorization", `Bearer ${credential}`);
      return all;
    };
    try {
      return await once(headers(token));
    } catch (caught) {
      const refused =
        caught instanceof PromptmeshError && caught.code === "UNAUTHENTICATED" && !ABOUT_THE_REQUEST.has(caught.reason);
      if (token === undefined || !refused || !credentials?.renew) throw caught;
      return await once(headers(await limit.race(credentials.renew(token))));
    }
  }

  function sent<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O> | DescMethodServerStreaming<I, O>,
    body: Uint8Array,
    headers: Headers,
    limit: Limit,
  ): Promise<Receiving<O>> {
    const { fetch = globalThis.fetch } = options;
    const { signal } = limit;
    return send({ baseUrl, fetch, method, body, headers, timeoutMs: limit.leftMs(), signal }, method.output);
  }

  /** Whether the call is to be repeated, as its caller has proved anew who they are. They may take their time. */
  async function steppedUp(caught: unknown, { headers, signal }: CallOptions): Promise<boolean> {
    const asked = caught instanceof PromptmeshError && caught.reason === "STEP_UP_REQUIRED";
    if (!asked || !credentials?.stepUp || new Headers(headers).has("authorization")) return false;
    const done = await credentials.stepUp();
    if (signal?.aborted) throw cancelled(signal.reason);
    return done;
  }

  const once: Transport = {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      request: MessageInitShape<I>,
      { signal, timeoutMs, headers: given, onHeader, onTrailer }: CallOptions,
    ) {
      const body = encoded(method.input, request);
      const limit = new Limit(timing, timeoutMs ?? standardMs, signal);
      try {
        for (let tries = 1; ; tries++) {
          try {
            return await authorised(given, limit, async (headers) => {
              const { header, trailer, requestId, messages } = await sent(method, body, headers, limit);
              let answer: MessageShape<O> | undefined;
              for await (const message of messages) answer = message;
              if (answer === undefined) throw connectionFailed(requestId);
              onHeader?.(header);
              onTrailer?.(trailer);
              return answer;
            });
          } catch (caught) {
            const error = limit.explain(caught);
            const waitMs = isSafeToRepeat(method, request) ? retryWaitMs(error, tries, timing.random) : undefined;
            if (waitMs === undefined || !limit.allows(waitMs)) throw error;
            await timing.sleep(waitMs, signal);
          }
        }
      } finally {
        limit.end();
      }
    },

    async *stream(method, request, { signal, timeoutMs, headers: given, onHeader, onTrailer }) {
      const body = encoded(method.input, request);
      const limit = new Limit(timing, timeoutMs ?? 0, signal);
      const terminal = hasTerminalEvent(method.output);
      try {
        const { receiving, messages } = await authorised(given, limit, async (headers) => {
          const receiving = await sent(method, body, headers, limit);
          const checked = whole(receiving.messages, terminal, receiving.requestId);
          // The first message too is awaited here: a refusal may come in its place.
          const first = await checked.next();
          return { receiving, messages: resumed(first, checked) };
        });
        onHeader?.(receiving.header);
        yield* messages;
        onTrailer?.(receiving.trailer);
      } catch (caught) {
        throw limit.explain(caught);
      } finally {
        // Whoever stops reading ends the call: the mesh, and the provider behind it, then stop too.
        limit.end();
      }
    },
  };

  return {
    async unary(method, request, callOptions) {
      try {
        return await once.unary(method, request, callOptions);
      } catch (caught) {
        if (!(await steppedUp(caught, callOptions))) throw caught;
        return await once.unary(method, request, callOptions);
      }
    },

    async *stream(method, request, callOptions) {
      try {
        // It is refused before its first message or not at all.
        return yield* once.stream(method, request, callOptions);
      } catch (caught) {
        if (!(await steppedUp(caught, callOptions))) throw caught;
      }
      yield* once.stream(method, request, callOptions);
    },
  };
}

function encoded<I extends DescMessage>(input: I, request: MessageInitShape<I>): Uint8Array {
  try {
    return frame(toBinary(input, create(input, request)));
  } catch (caught) {
    throw requestUnsendable(caught);
  }
}

/** The deadline and the signal of one call, whose own signal says that either is over. */
class Limit {
  readonly #timing: Timing;
  readonly #endMs: number;
  readonly #caller: AbortSignal | undefined;
  readonly #over = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #abort = () => this.#over.abort(cancelled(this.#caller?.reason));

  /** `timeoutMs` of 0 or less: no deadline. */
  constructor(timing: Timing, timeoutMs: number, caller: AbortSignal | undefined) {
    this.#timing = timing;
    this.#caller = caller;
    this.#endMs = timeoutMs > 0 ? timing.now() + timeoutMs : Number.POSITIVE_INFINITY;
    if (timeoutMs > 0) this.#timer = setTimeout(() => this.#over.abort(deadlinePassed()), timeoutMs);
    if (caller?.aborted) this.#abort();
    caller?.addEventListener("abort", this.#abort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** What is left, at least 1 ms; 0: there is no deadline. */
  leftMs(): number {
    return this.#endMs === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.floor(this.#endMs - this.#timing.now()));
  }

  /** Whether there is time left after a wait. */
  allows(waitMs: number): boolean {
    return !this.signal.aborted && this.#timing.now() + waitMs < this.#endMs;
  }

  /** Waits for `work` no longer than the call may last. */
  async race<T>(work: Promise<T> | undefined): Promise<T | undefined> {
    if (work === undefined) return undefined;
    const { signal } = this;
    let stop = () => {};
    const over = new Promise<never>((_, reject) => {
      const abort = () => reject(signal.reason);
      stop = () => signal.removeEventListener("abort", abort);
      signal.addEventListener("abort", abort);
      if (signal.aborted) abort();
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      stop();
    }
  }

  /** The error as the caller is to see it: an ended connection is no fault where it was ended here. */
  explain(caught: unknown): PromptmeshError {
    if (this.signal.aborted) return this.signal.reason as PromptmeshError;
    return caught instanceof PromptmeshError ? caught : connectionFailed("", caught);
  }

  /** The call is over; what is still open of it is closed. */
  end(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
    this.#over.abort(cancelled());
  }
}

async function* resumed<T>(first: IteratorResult<T, void>, rest: AsyncIterator<T, void>): AsyncGenerator<T, void> {
  for (let result = first; !result.done; result = await rest.next()) yield result.value;
}
