/* The models and routes of the configuration in force, as callers see them. */
import { pages, type Model } from "@promptmesh/client";
import { count, dollars } from "../../components/amounts";
import { Badge, EmptyState, ErrorNote, Skeleton } from "../../components/Pieces";
import { Table, wraps } from "../../components/Table";
import { api } from "../../state/api";
import { type Read } from "../../state/paged";

const PAGE_SIZE = 1000;
/** How a route chooses, in words. */
const STRATEGIES: Record<string, string> = {
  least_busy: "the least busy",
  lowest_cost: "the cheapest",
  lowest_latency: "the fastest",
  weighted: "by weight",
  quality: "by how hard the question is",
  ordered: "the first that serves",
};

export async function readModels(signal: AbortSignal): Promise<Model[]> {
  const all: Model[] = [];
  for await (const page of pages(api.inference.listModels, { pageSize: PAGE_SIZE }, { signal })) all.push(...page.models);
  return all;
}

export function Models({ read }: { read: Read<Model[]> }) {
  if (!read.value) {
    if (read.error !== undefined) return <ErrorNote title="Models could not be read" error={read.error} retry={read.reload} />;
    return <Skeleton lines={4} label="Loading models" />;
  }
  const routes = read.value.filter((one) => one.targets.length);
  const models = read.value.filter((one) => !one.targets.length);
  if (!read.value.length) {
    return <EmptyState title="No models">The configuration in force names none; posts are published without examples.</EmptyState>;
  }
  return (
    <>
      {routes.length > 0 && (
        <Table label="Routes">
          <thead>
            <tr>
              <th scope="col">Route</th>
              <th scope="col">Chooses</th>
              <th scope="col">Among</th>
            </tr>
          </thead>
          <tbody>
            {routes.map((route) => (
              <tr key={route.name}>
                <Name one={route} />
                <td>{STRATEGIES[route.strategy] ?? route.strategy}</td>
                <td class={wraps}>{targets(route)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <Table label="Models">
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">Provider</th>
            <th scope="col">Its name there</th>
            <th scope="col">Context</th>
            <th scope="col">Answer</th>
            <th scope="col">A million tokens in / out</th>
          </tr>
        </thead>
        <tbody>
          {models.map((model) => (
            <tr key={model.name}>
              <Name one={model} />
              <td>{model.provider}</td>
              <td>{model.upstreamModel}</td>
              <td>{model.contextTokens ? count(model.contextTokens) : "unknown"}</td>
              <td>{model.maxOutputTokens ? count(model.maxOutputTokens) : "unknown"}</td>
              <td>{price(model)}</td>
            </tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}

const Name = ({ one }: { one: Model }) => (
  <th scope="row">
    {one.name} {one.isDefault && <Badge tone="accent">Default</Badge>}
  </th>
);

const targets = (route: Model): string => {
  const weighed = route.targets.some((one) => one.weight > 1);
  return route.targets.map((one) => (weighed ? `${one.model} (${one.weight})` : one.model)).join(", ");
};

const price = ({ price: one }: Model): string =>
  one ? `${million(one.inputTokenNanos)} / ${million(one.outputTokenNanos)}` : "unknown";
/** Of a million tokens, from that of one. */
const million = (nanos: bigint): string => dollars(nanos * 1_000_000n, true);
