/* Numbers for people. Money comes as nano-US-dollars and stays whole: no fraction of it is ever computed. */

const NANOS = 1_000_000_000n;
const LANGUAGE = "en";
const plain = new Intl.NumberFormat(LANGUAGE);
const compact = new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumFractionDigits: 1 });

/** 1234567 → "1,234,567". */
export const count = (value: bigint | number): string => plain.format(value);

/** 1234567 → "1.2M", where there is no room for more. */
export const short = (value: bigint | number): string => compact.format(value);

/**
 * Nano-US-dollars, everywhere in the app: nothing is "$0", all else has its cents. "$12.30", "$0.00012": cents from ten
 * cents on, smaller sums keep two digits that say something. `exact`, for prices and receipts: to the last digit.
 */
export function dollars(nanos: bigint, exact = false): string {
  if (nanos === 0n) return "$0";
  const sign = nanos < 0n ? "-" : "";
  const all = nanos < 0n ? -nanos : nanos;
  const unit = exact ? 1n : 10n ** BigInt(9 - digitsOf(all));
  const rounded = ((all + unit / 2n) / unit) * unit;
  const fraction = (rounded % NANOS).toString().padStart(9, "0").slice(0, exact ? 9 : digitsOf(rounded));
  return `${sign}$${plain.format(rounded / NANOS)}.${exact ? fraction.replace(/0+$/, "").padEnd(2, "0") : fraction}`;
}

/** How many digits behind the point say something of a sum. */
const digitsOf = (nanos: bigint): number => (nanos >= NANOS / 10n ? 2 : Math.min(9, 11 - nanos.toString().length));

/** "3 calls", "1 call". */
export const counted = (value: bigint | number, one: string, many = `${one}s`): string =>
  `${count(value)} ${Number(value) === 1 ? one : many}`;
