/* Numbers for people. Money comes as nano-US-dollars and stays whole: no fraction of it is ever computed. */

const NANOS = 1_000_000_000n;
const LANGUAGE = "en";
const plain = new Intl.NumberFormat(LANGUAGE);
const compact = new Intl.NumberFormat(LANGUAGE, { notation: "compact", maximumFractionDigits: 1 });

/** 1234567 → "1,234,567". */
export const count = (value: bigint | number): string => plain.format(value);

/** 1234567 → "1.2M", where there is no room for more. */
export const short = (value: bigint | number): string => compact.format(value);

/** Nano-US-dollars: "$12.30", "$0.000123". Cents from a dollar on, below that as many digits as there are. */
export function dollars(nanos: bigint): string {
  const sign = nanos < 0n ? "-" : "";
  const all = nanos < 0n ? -nanos : nanos;
  const whole = all / NANOS;
  if (whole > 0n) {
    const cents = (all + 5_000_000n) / 10_000_000n;
    return `${sign}$${plain.format(cents / 100n)}.${(cents % 100n).toString().padStart(2, "0")}`;
  }
  const digits = all.toString().padStart(9, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${sign}$0.${digits}`;
}

/** "3 calls", "1 call". */
export const counted = (value: bigint | number, one: string, many = `${one}s`): string =>
  `${count(value)} ${Number(value) === 1 ? one : many}`;
