/* A message of the conversation: read, edited, removed; an answer with what came of its call. */
import { useEffect, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { classes } from "../../components/classes";
import { CopyButton } from "../../components/CopyButton";
import { TextArea } from "../../components/Field";
import { Badge, Note, type Tone } from "../../components/Pieces";
import { Prose } from "../../components/Prose";
import { toast } from "../../state/toasts";
import type { Failure } from "./failure";
import { Numbers } from "./Numbers";
import type { Run } from "./run";
import { change, conversation, editTurn, removeTurn, running, type Turn } from "./store";
import css from "./playground.module.css";

export function TurnView({ turn, last, onAgain }: { turn: Turn; last: boolean; onAgain: () => void }) {
  const [editing, edit] = useState(false);
  const { run, text, role } = turn;
  const busy = run?.state === "running";
  const name = role === "user" ? "You" : run?.model || "Model";
  const remove = () => {
    const before = conversation.value.turns;
    removeTurn(turn.id);
    toast("The message is removed.", { action: { label: "Undo", run: () => change({ turns: before }) } });
  };
  return (
    <article class={classes(css["turn"], css[role])} aria-label={role === "user" ? "Your message" : `Answer of ${name}`}>
      <header class={css["turn-top"]}>
        <span class={css["who"]}>{name}</span>
        {run && <StateOf run={run} />}
        {!busy && (
          <div class={css["turn-actions"]}>
            {text && <CopyButton text={text} />}
            {last && run && running.value === undefined && (
              <Button size="s" kind="quiet" onClick={onAgain}>
                Run again
              </Button>
            )}
            <Button size="s" kind="quiet" icon={editing ? "check" : "pen"} onClick={() => edit(!editing)}>
              {editing ? "Done" : "Edit"}
            </Button>
            <Button size="s" kind="quiet" icon="trash" label="Remove" onClick={remove} />
          </div>
        )}
      </header>
      {run?.reasoning && (
        <details class={css["thinking"]}>
          <summary>What the model thought</summary>
          <Prose text={run.reasoning} plain />
        </details>
      )}
      {editing ? (
        <TextArea label={`Text of ${name}`} value={text} onValue={(value) => editTurn(turn.id, value)} />
      ) : (
        (text || busy) && (
          <div class={css["text"]} aria-busy={busy} data-testid="text">
            {text ? <Prose text={text} plain={role === "user" || !conversation.value.markdown} /> : <Waiting />}
          </div>
        )
      )}
      {run && <Ending run={run} empty={!text} />}
      {run && <Numbers run={run} />}
    </article>
  );
}

const Waiting = () => <span class={css["waiting"]}>Waiting for the first token…</span>;

const STATES: Record<Run["state"], { tone: Tone; words: string }> = {
  running: { tone: "accent", words: "Answering" },
  done: { tone: "good", words: "Complete" },
  stopped: { tone: "warn", words: "Stopped, not whole" },
  cut: { tone: "bad", words: "Cut, not whole" },
  failed: { tone: "bad", words: "Failed" },
};

/** Said once when it begins and once when it ends, not with each token. */
function StateOf({ run }: { run: Run }) {
  const { tone, words } = STATES[run.state];
  return (
    <span role="status">
      <Badge tone={tone}>{words}</Badge>
    </span>
  );
}

function Ending({ run: { state, failure, restarts }, empty }: { run: Run; empty: boolean }) {
  return (
    <>
      {restarts > 0 && <p class="faint small">Another model began this answer anew.</p>}
      {state === "stopped" && empty && <p class="soft">Stopped before anything came.</p>}
      {state === "done" && empty && <p class="soft">The model answered with nothing.</p>}
      {failure && <FailureNote failure={failure} partly={state === "failed" && !empty} />}
    </>
  );
}

function FailureNote({ failure, partly }: { failure: Failure; partly: boolean }) {
  return (
    <div role="alert">
      <Note tone="bad" title={failure.title}>
        <p>{failure.text}</p>
        {partly && <p>What came before stands above. It is not the whole answer.</p>}
        {failure.details.length > 0 && (
          <ul class={css["details"]}>
            {failure.details.map((one) => (
              <li key={one}>{one}</li>
            ))}
          </ul>
        )}
        {failure.retryAt !== undefined && <Wait until={failure.retryAt} />}
        {failure.requestId && (
          <p class={css["request"]}>
            Request <code>{failure.requestId}</code>
          </p>
        )}
      </Note>
    </div>
  );
}

/** How long to wait, counting down; a screen reader hears it with the note and not again. */
function Wait({ until }: { until: number }) {
  const left = () => Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const [seconds, set] = useState(left);
  useEffect(() => {
    const timer = setInterval(() => set(left()), 1000);
    return () => clearInterval(timer);
  }, [until]);
  const minutes = Math.ceil(seconds / 60);
  const wait = seconds === 1 ? "a second" : seconds < 90 ? `${seconds} seconds` : `${minutes} minutes`;
  return (
    <p class="numbers" aria-live="off">
      <strong>{seconds ? `You can run it again in ${wait}.` : "You can run it again now."}</strong>
    </p>
  );
}
