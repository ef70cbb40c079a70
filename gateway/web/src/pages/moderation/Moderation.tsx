/* The moderators' queue: cases on one side, the one that is looked at on the other, decided by button or by key. */
import { CaseState } from "@promptmesh/client";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Select } from "../../components/Field";
import { Page } from "../../components/Page";
import { Badge, EmptyState, ErrorNote, Progress, Skeleton } from "../../components/Pieces";
import { Time } from "../../components/Time";
import { query, setQuery } from "../../router/router";
import { CaseView } from "./CaseView";
import { actions, focusCase, KeysDialog, useKeys } from "./keys";
import * as queue from "./store";
import { CATEGORIES, STATES, VERDICTS } from "./words";
import css from "./moderation.module.css";

const LOOK_EVERY_MS = 10_000;

export default function Moderation() {
  const [help, setHelp] = useState(false);
  const state = (STATES.find(({ key }) => key === query.value.get("state")) ?? STATES[0]!).value;
  const by = query.value.get("found") ?? "";

  useEffect(() => void queue.open({ state, by }), [state]);
  useEffect(() => void (queue.filter.value = { state, by }), [by]);
  useEffect(() => {
    queue.decidedCount.value = 0;
    void queue.readPolicy();
    const look = () => void queue.refresh();
    const timer = setInterval(look, LOOK_EVERY_MS);
    document.addEventListener("visibilitychange", look);
    addEventListener("focus", look);
    const leave = () => void queue.commit({ leaving: true });
    addEventListener("pagehide", leave);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
      removeEventListener("focus", look);
      removeEventListener("pagehide", leave);
      leave();
    };
  }, []);
  useKeys();
  useEffect(() => {
    // The list may be long: the focus goes with the case, so that a screen reader reads it.
    const move = (by: number) => () => queue.step(by) && focusCase();
    Object.assign(actions, { next: move(1), previous: move(-1), undo: () => undo(), help: () => setHelp(true) });
    return () => {
      for (const name of ["next", "previous", "undo", "help"] as const) delete actions[name];
    };
  }, []);

  return (
    <Page
      title="Moderation"
      width="wide"
      lead="Posts that a person must decide about, the longest waiting first."
      actions={
        <Button size="s" aria-keyshortcuts="?" onClick={() => setHelp(true)}>
          Keys <kbd aria-hidden="true">?</kbd>
        </Button>
      }
    >
      <div class={css["top"]}>
        <Filters state={state} by={by} />
        <div class={css["status"]}>
          <QueueProgress state={state} />
          <Pending />
        </div>
      </div>
      <Queue state={state} by={by} />
      {help && <KeysDialog onClose={() => setHelp(false)} />}
    </Page>
  );
}

function undo(): void {
  if (!queue.pending.value) return;
  queue.undo();
  focusCase();
}

function Filters({ state, by }: { state: CaseState; by: string }) {
  const findings = queue.cases.value.flatMap((one) => one.findings);
  const rules = [...new Set(findings.map(({ rule }) => rule))].sort();
  const categories = [...new Set(findings.map(({ category }) => category))].sort((a, b) => a - b);
  const options = [
    { value: "", label: "Everything" },
    ...categories.map((one) => ({ value: `category:${one}`, label: CATEGORIES[one] ?? "Other" })),
    ...rules.map((rule) => ({ value: rule, label: `Rule ${rule}` })),
  ];
  // What a link asks for stays in the list, though nothing that was read has it.
  if (!options.some(({ value }) => value === by)) options.push({ value: by, label: by });
  return (
    <div class={css["filters"]}>
      <Select
        label="Cases"
        options={STATES.map(({ key, label }) => ({ value: key, label }))}
        value={STATES.find(({ value }) => value === state)!.key}
        onValue={(key) => setQuery({ state: key === "open" ? undefined : key, found: undefined })}
      />
      <Select label="With" options={options} value={by} onValue={(found) => setQuery({ found })} />
    </div>
  );
}

function QueueProgress({ state }: { state: CaseState }) {
  if (state !== CaseState.OPEN || !queue.loaded.value) return null;
  const left = queue.cases.value.length;
  const done = queue.decidedCount.value;
  const words = `${left}${queue.more.value ? " or more" : ""} waiting${done ? `, ${done} decided by you` : ""}`;
  return left + done > 0 ? <Progress label={words} value={done} max={left + done} /> : null;
}

/** The decision that can still be taken back. */
function Pending() {
  const decision = queue.pending.value;
  return (
    <div role="status">
      {decision && (
        <div class={css["pending"]}>
          <Badge tone={VERDICTS[decision.verdict].tone}>{VERDICTS[decision.verdict].words}</Badge>
          <span class={css["pending-title"]}>{decision.one.title}</span>
          <Button size="s" aria-keyshortcuts="u" onClick={undo}>
            Undo <kbd aria-hidden="true">u</kbd>
          </Button>
        </div>
      )}
    </div>
  );
}

function Queue({ state, by }: { state: CaseState; by: string }) {
  const list = queue.shown.value;
  const one = queue.chosen.value;
  const failed = queue.error.value;
  const again = () => void queue.open({ state, by });
  if (!queue.loaded.value) {
    if (failed !== undefined) return <ErrorNote title="The queue could not be read" error={failed} retry={again} />;
    return <Skeleton lines={6} label="Loading the queue" />;
  }
  return (
    <>
      {failed !== undefined && <ErrorNote title="The queue could not be read" error={failed} retry={again} />}
      {one ? (
        <div class={css["layout"]}>
          <nav class={css["queue"]} aria-label="Queue">
            <ol>
              {list.map((each) => (
                <li key={each.caseId}>
                  <button
                    type="button"
                    class={css["entry"]}
                    aria-current={each === one ? "true" : undefined}
                    onClick={() => queue.choose(each.caseId)}
                  >
                    <span class={css["entry-title"]}>{each.title || "Text is gone"}</span>
                    <span class={css["entry-facts"]}>
                      <Time at={each.createTime} />
                      {each.findings[0] && ` · ${CATEGORIES[each.findings[0].category] ?? "Other"}`}
                      {state === CaseState.OPEN && each.state !== CaseState.OPEN && " · decided by another"}
                      {state === CaseState.RESOLVED && ` · ${VERDICTS[each.decision].words}`}
                    </span>
                  </button>
                </li>
              ))}
            </ol>
            <More />
            <p class={css["hint"]} aria-hidden="true">
              <kbd>j</kbd> <kbd>k</kbd> move, <kbd>n</kbd> note, <kbd>u</kbd> undo
            </p>
          </nav>
          <CaseView key={one.caseId} one={one} />
        </div>
      ) : (
        <Nothing state={state} by={by} />
      )}
    </>
  );
}

const More = () =>
  queue.more.value ? (
    <Button size="s" busy={queue.loading.value} onClick={() => void queue.readMore()}>
      Read more cases
    </Button>
  ) : null;

function Nothing({ state, by }: { state: CaseState; by: string }) {
  if (by) {
    return (
      <EmptyState title="None of the cases read so far has that" action={<More />}>
        <Button onClick={() => setQuery({ found: undefined })}>Show everything</Button>
      </EmptyState>
    );
  }
  return (
    <EmptyState title={state === CaseState.OPEN ? "Nothing waits for a decision" : "No such cases"} action={<More />}>
      {state === CaseState.OPEN ? "What is held next appears here by itself." : "Choose other cases above."}
    </EmptyState>
  );
}
