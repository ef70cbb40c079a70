/* The limits that hold for one, and what is left of each. */
import { LimitKind, type Remaining } from "@promptmesh/client";
import { count, dollars } from "../../components/amounts";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { millis, Time } from "../../components/Time";
import { api } from "../../state/api";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";
import css from "./usage.module.css";

const WHOSE: Record<number, string> = {
  [LimitKind.API_KEY]: "key",
  [LimitKind.USER]: "you",
  [LimitKind.ORG]: "your organisation",
};
/** Fields of Limits in words. */
const NAMES: Record<string, string> = {
  requests_per_minute: "Calls a minute",
  tokens_per_minute: "Tokens a minute",
  concurrent_requests: "Calls at once",
  nanos_per_day: "Money a day",
  nanos_per_month: "Money a month",
  requests_per_day: "Calls a day",
  posts_per_day: "Posts a day",
  output_tokens_per_request: "Tokens of an answer",
};
const SHORT_MS = 90_000;
const LITTLE = 0.1;

export function Limits() {
  const left = useRead(user.value?.userId ?? "", async (signal) => (await api.limits.getRemaining({}, { signal })).remaining);
  if (!left.value) {
    if (left.error !== undefined) {
      return <ErrorNote title="Limits could not be read" error={left.error} retry={left.reload} />;
    }
    return <Skeleton lines={3} label="Loading limits" />;
  }
  if (!left.value.length) return <p class="soft">Nobody has set a limit for you.</p>;
  return (
    <ul class={css["limits"]} aria-label="Limits">
      {left.value.map((one) => (
        <Limit key={`${one.kind} ${one.limit}`} one={one} />
      ))}
    </ul>
  );
}

function Limit({ one }: { one: Remaining }) {
  const amount = one.limit.startsWith("nanos") ? dollars : count;
  const name = NAMES[one.limit] ?? one.limit;
  const whose = WHOSE[one.kind] ?? "";
  const share = one.limitValue > 0n ? Number(one.remaining) / Number(one.limitValue) : 0;
  const words = `${amount(one.remaining)} of ${amount(one.limitValue)} left`;
  return (
    <li>
      <div class="row spread">
        <span>
          {name} <span class="small faint">for {whose}</span>
        </span>
        <span class="small numbers">{words}</span>
      </div>
      <progress data-little={share <= LITTLE} aria-label={`${name} for ${whose}: ${words}`} max={1} value={share} />
      {one.resetTime && one.remaining < one.limitValue && millis(one.resetTime) - Date.now() > SHORT_MS && (
        <p class="small faint">
          Whole again <Time at={one.resetTime} />
        </p>
      )}
    </li>
  );
}
