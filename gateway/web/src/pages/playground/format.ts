/* Prices and times as people read them. */
import { dollars } from "../../components/amounts";

/** The price of a million tokens, of the price of one. */
export const perMillion = (nanos: bigint): string => dollars(nanos * 1_000_000n, true);

export const millis = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
