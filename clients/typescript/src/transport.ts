/** Carries calls to the edge as gRPC-Web: credentials, deadlines, retries, and errors that say what happened. */
import type { DescMessage, DescMethodStreaming, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { cancelled, deadlinePassed, errorFrom, type Progress, type PromptmeshError } from "./errors.js";
import { isSafeToRepeat, retryWaitMs } from "./retries.js";
import { hasTerminalEvent, whole } from "./streams.js";
import { realTiming, type Timing } from "./timing.js";

/** Deadline of a unary call where the caller sets none. */
export const DEFAULT_TIMEOUT_MS = 30_000;

/** Where a call's credential comes from. */
export interface Credentials {
  /** The credential to send; undefined: none. */
  token(): Promise<string | undefined>;
  /** Another one after the mesh refused `rejected`; undefined: there is none. Absent: one cannot be had. */
  renew?(rejected: string): Promise<string | undefined>;
}

export interface TransportOptions {
  /** Address of the edge, without a path: `https://mesh.example`. Empty: the page's own origin. */
  readonly baseUrl: string;
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Deadline of a unary call, its retries included, in milliseconds; 0: none. */
  readonly timeoutMs?: number | undefined;
  readonly credentials?: Credentials | undefined;
  readonly timing?: Timing | undefined;
}

/** Makes the transport that all clients of one mesh share. */
export function createMeshTransport(options: TransportOptions): Transport {
  const { credentials, timing = realTiming, timeoutMs: standardMs = DEFAULT_TIMEOUT_MS } = options;

  /** Sends once, with the credential; once more with another, if the mesh refuses it. */
  async function authorised<T>(
    header: HeadersInit | undefined,
    limit: Limit,
    send: (transport: Transport, header: Headers, progress: Progress) => Promise<T>,
  ): Promise<T> {
    const once = async (token: string | undefined): Promise<T> => {
      const headers = new Headers(header);
      if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
      const progress: Progress = { sent: false, requestId: "" };
      try {
        return await send(attempt(options, progress), headers, progress);
      } catch (caught) {
        throw errorFrom(caught, progress);
      }
    };
    // A call that brings its own credential is left alone.
    const own = new Headers(header).has("authorization");
    const token = own ? undefined : await limit.race(credentials?.token());
    try {
      return await once(token);
    } catch (caught) {
      const error = caught as PromptmeshError;
      const refused = error.code === "UNAUTHENTICATED" && error.reason !== "LOGIN_FAILED";
      if (token === undefined || !refused || !credentials?.renew) throw error;
      return await once(await limit.race(credentials.renew(token)));
    }
  }

  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersInit | undefined,
      input: MessageInitShape<I>,
    ): Promise<UnaryResponse<I, O>> {
      const limit = new Limit(timing, timeoutMs ?? standardMs, signal);
      for (let tries = 1; ; tries++) {
        try {
          return await authorised(header, limit, (transport, headers) =>
            transport.unary(method, signal, limit.leftMs(), headers, input),
          );
        } catch (caught) {
          const error = caught as PromptmeshError;
          const waitMs = isSafeToRepeat(method, input) ? retryWaitMs(error, tries, timing.random) : undefined;
          if (waitMs === undefined || !limit.allows(waitMs)) throw error;
          await timing.sleep(waitMs, signal);
        }
      }
    },

    async stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersInit | undefined,
      input: AsyncIterable<MessageInitShape<I>>,
    ): Promise<StreamResponse<I, O>> {
      const requests: MessageInitShape<I>[] = [];
      for await (const request of input) requests.push(request); // kept, for a second try with a new credential
      // Whoever stops reading ends the call: the mesh, and the provider behind it, then stop too.
      const ended = new AbortController();
      const abort = () => ended.abort(signal?.reason);
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
      const end = () => {
        signal?.removeEventListener("abort", abort);
        ended.abort();
      };
      try {
        // The first message too is awaited: a refusal may come in its place.
        const opened = await authorised(header, new Limit(timing, 0, signal), async (transport, headers, progress) => {
          const response = await transport.stream(method, ended.signal, timeoutMs, headers, iterate(requests));
          const messages = response.message[Symbol.asyncIterator]();
          let first: Promise<IteratorResult<unknown>> | undefined;
          try {
            const result = await messages.next();
            first = Promise.resolve(result);
          } catch (caught) {
            const error = errorFrom(caught, progress);
            if (error.reason !== "CONNECTION_FAILED") throw error;
            first = Promise.reject(caught); // it was open, so it was cut
            first.catch(() => undefined);
          }
          return { response, messages: resumed(first, messages), progress };
        });
        const { response, messages, progress } = opened;
        const requestId = response.header.get("x-request-id") ?? "";
        const failure = (caught: unknown) => errorFrom(caught, progress);
        const checked = whole(messages, hasTerminalEvent(method.output), requestId, failure);
        return { ...response, message: closing(checked, end) } as StreamResponse<I, O>;
      } catch (caught) {
        end();
        throw caught;
      }
    },
  };
}

/** A transport for one try, which notes how far it got. */
function attempt(options: TransportOptions, progress: Progress): Transport {
  const send = options.fetch ?? globalThis.fetch;
  return createGrpcWebTransport({
    baseUrl: options.baseUrl,
    fetch: async (input, init) => {
      progress.sent = true;
      const response = await send(input, init);
      progress.requestId = response.headers.get("x-request-id") ?? "";
      return response;
    },
  });
}

/** The deadline and the signal of one call. */
class Limit {
  readonly #timing: Timing;
  readonly #end: number;
  readonly #signal: AbortSignal | undefined;

  /** `timeoutMs` of 0 or less: no deadline. */
  constructor(timing: Timing, timeoutMs: number, signal: AbortSignal | undefined) {
    this.#timing = timing;
    this.#end = timeoutMs > 0 ? timing.now() + timeoutMs : Number.POSITIVE_INFINITY;
    this.#signal = signal;
  }

  /** What is left, at least 1 ms; 0: there is no deadline. */
  leftMs(): number {
    return this.#end === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.floor(this.#end - this.#timing.now()));
  }

  /** Whether there is time left after a wait. */
  allows(waitMs: number): boolean {
    return this.#timing.now() + waitMs < this.#end;
  }

  /** Waits for `work` no longer than the call may last. */
  async race<T>(work: Promise<T> | undefined): Promise<T | undefined> {
    if (work === undefined) return undefined;
    const leftMs = this.leftMs();
    const signal = this.#signal;
    let stop = () => {};
    const over = new Promise<never>((_, reject) => {
      const timer = leftMs > 0 ? setTimeout(() => reject(deadlinePassed()), leftMs) : undefined;
      const abort = () => reject(cancelled(signal?.reason));
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
      stop = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      stop();
    }
  }
}

async function* iterate<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function* resumed<T>(first: Promise<IteratorResult<T>>, rest: AsyncIterator<T>): AsyncGenerator<T> {
  for (let result = await first; !result.done; result = await rest.next()) yield result.value;
}

async function* closing<T>(messages: AsyncIterable<T>, end: () => void): AsyncGenerator<T> {
  try {
    yield* messages;
  } finally {
    end();
  }
}
