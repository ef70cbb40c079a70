/** What every set of clients is made with: where the mesh is, and who calls. */
import type { Session } from "./session.js";
import { createMeshTransport, type Credentials, type Transport } from "./transport.js";

export interface PromptmeshOptions {
  /** Address of the edge, for example `https://mesh.example`; empty: the page's own origin. */
  readonly baseUrl: string;
  /** Whose session makes the calls. Without session and key, calls are anonymous. */
  readonly session?: Session;
  /** An API key, `pm_…`. Not in a browser: whoever opens the page could read it. */
  readonly apiKey?: string;
  /** What to use for HTTP; the platform's own by default. */
  readonly fetch?: typeof globalThis.fetch;
  /** Deadline of a unary call, its retries included: 30,000 ms by default, 0 for none. `CallOptions.timeoutMs` goes first. */
  readonly timeoutMs?: number;
}

/** The transport of what `maker` makes. It keeps nothing: sets of clients with the same options may each have their own. */
export function transportFor(options: PromptmeshOptions, maker: string): Transport {
  const { session, apiKey } = options;
  if (session !== undefined && apiKey !== undefined) {
    throw new TypeError(`${maker} takes a session or an apiKey, not both: leave one of them out.`);
  }
  const credentials: Credentials | undefined =
    session ?? (apiKey === undefined ? undefined : { token: () => Promise.resolve(apiKey) });
  return createMeshTransport({ ...options, credentials });
}
