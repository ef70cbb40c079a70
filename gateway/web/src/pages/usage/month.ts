/* The usage of this month, from rows by day and model to what the page shows. Days and months are UTC, as the server has them. */
import { type UsageRow } from "@promptmesh/client";
import { millis } from "../../components/Time";

export interface Sum {
  requests: bigint;
  failures: bigint;
  inputTokens: bigint;
  outputTokens: bigint;
  costNanos: bigint;
  unpriced: bigint;
}

export interface Day extends Sum {
  /** Of the month, from 1. */
  day: number;
}

export interface ModelSum extends Sum {
  model: string;
}

export interface Month {
  /** Every day of the month, those to come included. */
  days: Day[];
  /** The dearest first. */
  models: ModelSum[];
  all: Sum;
  name: string;
  /** Day of today. */
  today: number;
}

const NOTHING: Sum = { requests: 0n, failures: 0n, inputTokens: 0n, outputTokens: 0n, costNanos: 0n, unpriced: 0n };

const plus = (sum: Sum, row: UsageRow): Sum => ({
  requests: sum.requests + row.requests,
  failures: sum.failures + row.failures,
  inputTokens: sum.inputTokens + row.inputTokens,
  outputTokens: sum.outputTokens + row.outputTokens,
  costNanos: sum.costNanos + row.costNanos,
  unpriced: sum.unpriced + row.unpricedRequests,
});

export function monthOf(rows: UsageRow[], now: Date): Month {
  const length = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 0)).getUTCDate();
  const days: Day[] = Array.from({ length }, (_, index) => ({ ...NOTHING, day: index + 1 }));
  const models = new Map<string, Sum>();
  let all = NOTHING;
  for (const row of rows) {
    const day = row.beginTime && days[new Date(millis(row.beginTime)).getUTCDate() - 1];
    if (day) Object.assign(day, plus(day, row));
    models.set(row.model, plus(models.get(row.model) ?? NOTHING, row));
    all = plus(all, row);
  }
  return {
    days,
    models: [...models].map(([model, sum]) => ({ ...sum, model })).sort(byCost),
    all,
    name: now.toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" }),
    today: now.getUTCDate(),
  };
}

const byCost = (one: ModelSum, other: ModelSum): number =>
  Number(other.costNanos - one.costNanos) || Number(other.requests - one.requests);
