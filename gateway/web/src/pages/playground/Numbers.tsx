/* What a call took, as its stream told, and its receipt. Where the stream was ended before it could tell, the receipt says. */
import { Basis, CacheDecision, FinishReason, Outcome, PromptmeshError, type Receipt } from "@promptmesh/client";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { count, counted, dollars } from "../../components/amounts";
import { Button } from "../../components/Button";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { api } from "../../state/api";
import { call } from "../../state/session";
import { millis } from "./format";
import type { Run } from "./run";
import css from "./playground.module.css";

// Receipts are written in batches, a moment after the call.
const RECEIPT_TRIES = 8;
const RECEIPT_WAIT_MS = 300;
/** What came in less time came in one piece, as from a cache. */
const WRITING_LEAST_MS = 100;

const FINISHES: Record<FinishReason, string> = {
  [FinishReason.UNSPECIFIED]: "",
  [FinishReason.STOP]: "The model was done",
  [FinishReason.LENGTH]: "The largest answer was reached",
  [FinishReason.CONTENT_FILTER]: "The provider's filter cut it",
  [FinishReason.TOOL_CALLS]: "The model asks for tools",
};

export function Numbers({ run }: { run: Run }) {
  const [receipt, setReceipt] = useState<Receipt>();
  if (run.state === "running") return run.firstTokenMs === undefined ? null : <Timing run={run} />;
  const { usage, finish, requestId, state } = run;
  // What was refused before it began took nothing, and mostly has no receipt.
  const untold = !usage && state !== "failed";
  const costNanos = usage ? usage.costNanos : receipt?.costNanos?.toString();
  const known = usage ?? receipt;
  const estimated = usage ? usage.estimated : receipt?.basis === Basis.ESTIMATED;
  const mark = estimated && <span class="faint"> estimated</span>;
  return (
    <>
      <dl class={css["numbers"]}>
        {finish !== FinishReason.UNSPECIFIED && <Fact name="Ended because">{FINISHES[finish]}</Fact>}
        {known && (
          <>
            <Fact name="In">
              {counted(known.inputTokens, "token")}
              {mark}
            </Fact>
            <Fact name="Out">
              {counted(known.outputTokens, "token")}
              {mark}
            </Fact>
            <Fact name="Cost">
              {costNanos ? dollars(BigInt(costNanos), true) : "unknown"}
              {costNanos && mark}
            </Fact>
          </>
        )}
        <Times run={run} outputTokens={known?.outputTokens} />
      </dl>
      {requestId && <ReceiptOf key={requestId} run={run} receipt={receipt} onReceipt={setReceipt} atOnce={untold} />}
    </>
  );
}

const Timing = ({ run }: { run: Run }) => (
  <dl class={css["numbers"]}>
    <Times run={run} outputTokens={undefined} />
  </dl>
);

function Times({ run: { firstTokenMs, totalMs }, outputTokens }: { run: Run; outputTokens: number | undefined }) {
  const writing = firstTokenMs !== undefined && totalMs !== undefined ? totalMs - firstTokenMs : 0;
  // The time to the first token is not writing.
  const written = outputTokens && writing >= WRITING_LEAST_MS ? outputTokens - 1 : 0;
  const speed = written ? (written / writing) * 1000 : undefined;
  return (
    <>
      {firstTokenMs !== undefined && <Fact name="First token">{millis(firstTokenMs)}</Fact>}
      {totalMs !== undefined && <Fact name="Total">{millis(totalMs)}</Fact>}
      {speed !== undefined && <Fact name="Speed">{`${speed < 10 ? speed.toFixed(1) : count(Math.round(speed))} tokens/s`}</Fact>}
    </>
  );
}

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

interface ReceiptProps {
  run: Run;
  receipt: Receipt | undefined;
  onReceipt: (receipt: Receipt) => void;
  /** Whether it is read without being asked for. */
  atOnce: boolean;
}

function ReceiptOf({ run, receipt, onReceipt, atOnce }: ReceiptProps) {
  const [wanted, want] = useState(atOnce);
  const [open, setOpen] = useState(false);
  const [error, setError] = useState<unknown>();
  const [tries, setTries] = useState(0);
  const id = run.recordId || run.requestId;
  useEffect(() => {
    if (!wanted || receipt) return;
    const leaving = new AbortController();
    setError(undefined);
    read(id, leaving.signal).then(onReceipt, (failed: unknown) => !leaving.signal.aborted && setError(failed));
    return () => leaving.abort();
  }, [wanted, id, tries]);
  const show = () => {
    setOpen(!open);
    want(true);
  };
  return (
    <div class={css["receipt"]}>
      <Button size="s" kind="quiet" icon="chevron" aria-expanded={open} onClick={show}>
        Receipt
      </Button>
      {open &&
        (receipt ? (
          <Details receipt={receipt} />
        ) : error !== undefined ? (
          <ErrorNote title="The receipt could not be read" error={error} retry={() => setTries(tries + 1)} />
        ) : (
          <Skeleton lines={3} label="Loading the receipt" />
        ))}
    </div>
  );
}

async function read(id: string, signal: AbortSignal): Promise<Receipt> {
  for (let tries = 1; ; tries++) {
    try {
      const receipt = await call(() => api.usage.getRequest({ id }, { signal }));
      if (receipt.outcome !== Outcome.RUNNING || tries >= RECEIPT_TRIES) return receipt;
    } catch (error) {
      const soon = error instanceof PromptmeshError && error.reason === "REQUEST_NOT_FOUND" && tries < RECEIPT_TRIES;
      if (!soon) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RECEIPT_WAIT_MS * tries));
    signal.throwIfAborted();
  }
}

const CACHE: Record<CacheDecision, string> = {
  [CacheDecision.UNSPECIFIED]: "The route has none",
  [CacheDecision.BYPASS]: "Not looked for",
  [CacheDecision.MISS]: "Looked for, not found",
  [CacheDecision.HIT]: "Answered from it",
  [CacheDecision.JOINED]: "Shared an identical call's answer",
  [CacheDecision.REFRESH]: "Called anew and stored",
};

const OUTCOMES: Record<Outcome, string> = {
  [Outcome.UNSPECIFIED]: "",
  [Outcome.RUNNING]: "Under way",
  [Outcome.OK]: "A whole answer",
  [Outcome.FAILED]: "Failed",
  [Outcome.CANCELLED]: "The caller left",
  [Outcome.LOST]: "Lost with its process; counted at its reservation",
};

const BASES: Record<Basis, string> = {
  [Basis.UNSPECIFIED]: "",
  [Basis.REPORTED]: "Reported by the provider",
  [Basis.ESTIMATED]: "Estimated",
  [Basis.NONE]: "Nothing was called",
};

function Details({ receipt }: { receipt: Receipt }) {
  const { attempts, costNanos } = receipt;
  return (
    <div class={css["receipt-body"]}>
      <dl class={css["numbers"]}>
        <Fact name="Outcome">{[OUTCOMES[receipt.outcome], receipt.reason].filter(Boolean).join(": ")}</Fact>
        <Fact name="Answered by">{receipt.model ? `${receipt.model}, ${receipt.provider}` : "nobody"}</Fact>
        <Fact name="Asked for">{receipt.route}</Fact>
        <Fact name="Cache">{CACHE[receipt.cache]}</Fact>
        <Fact name="Tokens">{`${count(receipt.inputTokens)} in, ${count(receipt.outputTokens)} out`}</Fact>
        <Fact name="Counted">{BASES[receipt.basis]}</Fact>
        <Fact name="Cost">{costNanos === undefined ? "unknown" : dollars(costNanos, true)}</Fact>
        <Fact name="Configuration">{`version ${receipt.configVersion}`}</Fact>
      </dl>
      {attempts.length > 0 && (
        <table class={css["attempts"]}>
          <caption>Calls of providers</caption>
          <thead>
            <tr>
              <th scope="col">Model</th>
              <th scope="col">Provider</th>
              <th scope="col">Took</th>
              <th scope="col">Result</th>
            </tr>
          </thead>
          <tbody>
            {attempts.map((one, at) => (
              <tr key={at}>
                <td>{one.model}</td>
                <td>{one.provider}</td>
                <td>{one.duration ? millis(Number(one.duration.seconds) * 1000 + one.duration.nanos / 1e6) : "—"}</td>
                <td>
                  {one.reason || "answered"}
                  {one.hedge && ", as a hedge"}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class={css["request"]}>
        Record <code>{receipt.recordId}</code> · Request <code>{receipt.requestId}</code>
      </p>
    </div>
  );
}
