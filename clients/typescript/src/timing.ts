import { cancelled } from "./errors.js";

/** Time and chance, which tests replace. */
export interface Timing {
  /** Milliseconds of a clock that never steps back. */
  now(): number;
  /** A number from 0 to 1. */
  random(): number;
  /** Waits; rejects with CANCELLED when the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const realTiming: Timing = {
  now: () => performance.now(),
  random: () => Math.random(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled(signal.reason));
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const abort = () => (end(), reject(cancelled(signal?.reason)));
      const timer = setTimeout(() => (end(), resolve()), ms);
      signal?.addEventListener("abort", abort, { once: true });
    }),
};

/** A wait between half of and the whole `baseMs` doubled with each attempt (from 1), at most `capMs`. */
export function backoffMs(attempt: number, baseMs: number, capMs: number, random: () => number): number {
  const full = Math.min(capMs, baseMs * 2 ** (attempt - 1));
  return full * (0.5 + random() / 2);
}
