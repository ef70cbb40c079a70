const NANOS_PER_USD = 1_000_000_000;

/** Nano-US-dollars as people write them: "$0.0012"; small sums keep two digits that say something. */
export function usd(nanos: bigint): string {
  if (nanos === 0n) return "$0";
  const dollars = Number(nanos) / NANOS_PER_USD;
  const digits = dollars >= 1 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(Math.abs(dollars))));
  return `$${dollars.toFixed(Math.max(2, digits))}`;
}
