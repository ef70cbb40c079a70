/* What one's calls took this month: by day as a chart, by model as a table. */
import { UsageDimension, UsageInterval } from "@promptmesh/client";
import { useState } from "preact/hooks";
import { count, counted, dollars, short } from "../../components/amounts";
import { LinkButton } from "../../components/Button";
import { EmptyState, ErrorNote, Skeleton } from "../../components/Pieces";
import { Table } from "../../components/Table";
import { Tabs } from "../../components/Tabs";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";
import { Chart } from "./Chart";
import { monthOf, type Month, type Sum } from "./month";
import css from "./usage.module.css";

type View = "cost" | "calls" | "tokens";

const VIEWS: { key: View; label: string }[] = [
  { key: "cost", label: "Cost" },
  { key: "calls", label: "Calls" },
  { key: "tokens", label: "Tokens" },
];
const AMOUNT: Record<View, (sum: Sum) => bigint> = {
  cost: (sum) => sum.costNanos,
  calls: (sum) => sum.requests,
  tokens: (sum) => sum.inputTokens + sum.outputTokens,
};
const WORDS: Record<View, (amount: bigint) => string> = {
  cost: dollars,
  calls: (amount) => counted(amount, "call"),
  tokens: (amount) => counted(amount, "token"),
};

export function Usage() {
  const usage = useRead(user.value?.userId ?? "", async (signal) => {
    const groupBy = [UsageDimension.MODEL];
    const { rows } = await api.usage.getUsage({ interval: UsageInterval.DAY, groupBy }, { signal });
    return monthOf(rows, new Date());
  });
  if (!usage.value) {
    if (usage.error !== undefined) {
      return <ErrorNote title="Usage could not be read" error={usage.error} retry={usage.reload} />;
    }
    return <Skeleton lines={5} label="Loading usage" />;
  }
  if (!usage.value.all.requests) {
    return (
      <EmptyState
        title={`No calls in ${usage.value.name}`}
        action={<LinkButton href={to.playground()}>To the playground</LinkButton>}
      >
        What you ask of models, here or with a key, is summed up by day and model.
      </EmptyState>
    );
  }
  return <Told month={usage.value} />;
}

function Told({ month }: { month: Month }) {
  const [view, setView] = useState<View>(month.all.costNanos ? "cost" : "calls");
  const amount = AMOUNT[view];
  const words = WORDS[view];
  const days = month.days.slice(0, month.today);
  const most = days.reduce((one, other) => (amount(other) > amount(one) ? other : one), days[0]!);
  const label = `${view === "cost" ? "Cost" : view === "calls" ? "Calls" : "Tokens"} by day, ${month.name}: ${words(
    amount(month.all),
  )} in all, most on day ${most.day} with ${words(amount(most))}.`;
  return (
    <>
      <dl class={css["sums"]}>
        <Figure name="Cost" value={dollars(month.all.costNanos)} />
        <Figure name="Calls" value={count(month.all.requests)} />
        <Figure name="Tokens in" value={short(month.all.inputTokens)} />
        <Figure name="Tokens out" value={short(month.all.outputTokens)} />
        {month.all.failures > 0n && <Figure name="Failed calls" value={count(month.all.failures)} />}
      </dl>
      {month.all.unpriced > 0n && (
        <p class="small soft">
          {counted(month.all.unpriced, "call")} went to a model whose price is not known, and {month.all.unpriced === 1n ? "is" : "are"} not
          in the cost.
        </p>
      )}
      <Tabs label="What the chart shows" tabs={VIEWS} chosen={view} onChoose={setView}>
        <Chart
          label={label}
          top={words(amount(most))}
          bars={month.days.map((day) => ({
            label: String(day.day),
            value: Number(amount(day)),
            text: `${day.day} ${month.name}: ${words(amount(day))}`,
          }))}
        />
      </Tabs>
      <details class={css["days"]}>
        <summary>The days as a table</summary>
        <Sums
          label="Usage by day"
          first="Day"
          rows={days.filter((day) => day.requests > 0n).map((day) => ({ name: `${day.day} ${month.name}`, sum: day }))}
        />
      </details>
      <h3>By model</h3>
      <Sums label="Usage by model" first="Model" rows={month.models.map((sum) => ({ name: sum.model || "none", sum }))} />
    </>
  );
}

const Figure = ({ name, value }: { name: string; value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

function Sums({ label, first, rows }: { label: string; first: string; rows: { name: string; sum: Sum }[] }) {
  return (
    <Table label={label} numbers>
      <thead>
        <tr>
          <th scope="col">{first}</th>
          <th scope="col">Cost</th>
          <th scope="col">Calls</th>
          <th scope="col">Tokens in</th>
          <th scope="col">Tokens out</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ name, sum }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{dollars(sum.costNanos)}</td>
            <td>{count(sum.requests)}</td>
            <td>{count(sum.inputTokens)}</td>
            <td>{count(sum.outputTokens)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
