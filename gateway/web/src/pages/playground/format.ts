/* Money, tokens and times as people read them. Money is counted in nano-US-dollars, never in fractions. */

const NANOS = 1_000_000_000n;
const group = new Intl.NumberFormat("en");

/** Exactly: `$0.000011`, `$1.50`. */
export function usd(nanos: bigint): string {
  const fraction = (nanos % NANOS).toString().padStart(9, "0").replace(/0+$/, "").padEnd(2, "0");
  return `$${group.format(nanos / NANOS)}.${fraction}`;
}

/** The price of a million tokens, of the price of one. */
export const perMillion = (nanos: bigint): string => usd(nanos * 1_000_000n);

export const count = (value: number): string => group.format(value);

export const tokens = (value: number): string => `${count(value)} ${value === 1 ? "token" : "tokens"}`;

export const millis = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
