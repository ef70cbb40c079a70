/* One call: what came of it, as it comes. Plain values throughout, for it is kept with the conversation. */
import { FinishReason, type CacheDecision, type GenerateResponse } from "@promptmesh/client";
import { isAbort } from "../../components/problems";
import { api } from "../../state/api";
import { call } from "../../state/session";
import { brokeOff, failureOf, type Failure } from "./failure";
import { requestOf, type Asked } from "./request";

export interface Run {
  /** `cut`: it broke off, and what came is not whole; `failed`: nothing came, or it was refused. */
  state: "running" | "done" | "stopped" | "cut" | "failed";
  asked: Asked;
  text: string;
  /** What the model thought aloud. */
  reasoning: string;
  requestId: string;
  recordId: string;
  model: string;
  provider: string;
  route: string;
  configVersion: string;
  attempts: number;
  cache: CacheDecision;
  /** How often another model began the answer anew. */
  restarts: number;
  finish: FinishReason;
  /** Not set: not told yet, or never. `costNanos` empty: the price is unknown. */
  usage?: { inputTokens: number; outputTokens: number; estimated: boolean; costNanos: string };
  firstTokenMs?: number;
  totalMs?: number;
  failure?: Failure;
}

export const newRun = (asked: Asked): Run => ({
  state: "running",
  asked,
  text: "",
  reasoning: "",
  requestId: "",
  recordId: "",
  model: "",
  provider: "",
  route: "",
  configVersion: "",
  attempts: 0,
  cache: 0,
  restarts: 0,
  finish: FinishReason.UNSPECIFIED,
});

/** Makes the call and tells of each change, at most once a frame. Resolves when it is over, however it ended. */
export async function perform(asked: Asked, signal: AbortSignal, show: (run: Run) => void): Promise<void> {
  const run = newRun(asked);
  let frame = 0;
  const soon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      show({ ...run });
    });
  };
  let began = performance.now();
  const onHeader = (headers: Headers) => void (run.requestId ||= headers.get("x-request-id") ?? "");
  // A session that has ended is renewed, by asking if need be, before the first message: then it begins anew.
  const open = async () => {
    began = performance.now();
    const events = api.inference.generate(requestOf(asked), { signal, onHeader })[Symbol.asyncIterator]();
    return { events, first: await events.next() };
  };
  try {
    const { events, first } = await call(open);
    for (let next = first; !next.done; next = await events.next()) {
      take(run, next.value.event, () => performance.now() - began);
      soon();
    }
    run.state = "done";
  } catch (error) {
    if (signal.aborted || isAbort(error)) run.state = "stopped";
    else {
      run.failure = failureOf(error, Date.now());
      run.requestId ||= run.failure.requestId;
      run.state = run.text && brokeOff(error) ? "cut" : "failed";
    }
  }
  cancelAnimationFrame(frame);
  run.totalMs = performance.now() - began;
  show({ ...run });
}

function take(run: Run, event: GenerateResponse["event"], elapsedMs: () => number): void {
  switch (event.case) {
    case "started": {
      const { requestId, model, provider, route, configVersion, attempts, cache, restarted } = event.value;
      Object.assign(run, { requestId, model, provider, route, configVersion: configVersion.toString(), attempts, cache });
      if (restarted) Object.assign(run, { text: "", reasoning: "", restarts: run.restarts + 1 });
      break;
    }
    case "delta":
      run.firstTokenMs ??= elapsedMs();
      run.text += event.value.text + event.value.refusal;
      run.reasoning += event.value.reasoning;
      break;
    case "usage": {
      const { inputTokens, outputTokens, estimated, costNanos } = event.value;
      run.usage = { inputTokens, outputTokens, estimated, costNanos: costNanos?.toString() ?? "" };
      break;
    }
    case "done":
      run.recordId = event.value.recordId;
      run.finish = event.value.finishReason;
      run.attempts = event.value.attempts.length || run.attempts;
      break;
  }
}
