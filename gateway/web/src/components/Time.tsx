/* A time as people say it ("3 minutes ago"), the exact one on hover and for machines. */
import { signal } from "@preact/signals";

const now = signal(Date.now());
setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 30_000);

const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;
const LANGUAGE = "en";
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });
const exact = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });

/** protobuf's Timestamp, as far as this needs it. */
interface Stamp {
  seconds: bigint;
  nanos: number;
}

export const millis = (at: Stamp): number => Number(at.seconds) * 1000 + Math.floor(at.nanos / 1e6);

export function Time({ at }: { at: Stamp | Date | undefined }) {
  if (!at) return null;
  const date = at instanceof Date ? at : new Date(millis(at));
  return (
    <time dateTime={date.toISOString()} title={exact.format(date)}>
      {ago((date.getTime() - now.value) / 1000)}
    </time>
  );
}

export function ago(seconds: number): string {
  for (const [unit, size] of UNITS) {
    // What is to come is rounded, and told in two of a unit or more: 90 days that began a minute ago are "in 3 months", not in
    // 2, and 30 days are "in 30 days".
    const whole = seconds > 0 ? Math.round(seconds / size) : Math.trunc(seconds / size);
    if (seconds > 0 ? whole > 1 || (whole === 1 && unit === "minute") : whole < 0) return relative.format(whole, unit);
  }
  return "just now";
}
