/* Tokens and times as people read them; money as all pages write it. */
import { count, exactDollars as usd } from "../../components/amounts";

export { count, usd };

/** The price of a million tokens, of the price of one. */
export const perMillion = (nanos: bigint): string => usd(nanos * 1_000_000n);

export const tokens = (value: number): string => `${count(value)} ${value === 1 ? "token" : "tokens"}`;

export const millis = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
