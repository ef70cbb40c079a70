/* The decision about a case: words for other moderators and for the author, approve, reject. What is written is kept. */
import { Verdict, type Case } from "@promptmesh/client";
import { useLayoutEffect, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { TextArea } from "../../components/Field";
import { dropDraft, keepDraft, readDraft } from "../../state/drafts";
import { actions, focusCase } from "./keys";
import { decide, noteDraft, type Decision } from "./store";
import css from "./moderation.module.css";

// Bounds of moderation.proto's ResolveCaseRequest.
const NOTE_CHARACTERS_MAX = 2_000;
const REASON_CHARACTERS_MAX = 500;

interface Words {
  note: string;
  publicReason: string;
}

export function Decide({ one }: { one: Case }) {
  const draft = noteDraft(one.caseId);
  const [words, setWords] = useState<Words>(() => ({ note: "", publicReason: "", ...readDraft<Words>(draft) }));
  const write = (changes: Partial<Words>) => {
    const next = { ...words, ...changes };
    setWords(next);
    if (next.note || next.publicReason) keepDraft(draft, next);
    else dropDraft(draft);
  };
  const run = (verdict: Decision["verdict"]) => {
    const publicReason = verdict === Verdict.REJECT ? words.publicReason.trim() : "";
    decide({ one, verdict, note: words.note.trim(), publicReason });
    focusCase();
  };
  // A key decides with the words that stand there, not with those of the last paint.
  useLayoutEffect(() => {
    actions.approve = () => run(Verdict.ALLOW);
    actions.reject = () => run(Verdict.REJECT);
    actions.note = () => document.querySelector<HTMLElement>("textarea[name=note]")?.focus();
    return () => {
      for (const name of ["approve", "reject", "note"] as const) delete actions[name];
    };
  });
  return (
    <section class={css["decide"]} aria-label="Decision">
        <TextArea
          name="note"
          label="Note for moderators"
          rows={1}
          maxLength={NOTE_CHARACTERS_MAX}
          value={words.note}
          onValue={(note) => write({ note })}
        />
        <TextArea
          name="reason"
          label="Reason for the author"
          placeholder="Shown if you reject it"
          rows={1}
          maxLength={REASON_CHARACTERS_MAX}
          value={words.publicReason}
          onValue={(publicReason) => write({ publicReason })}
        />
      <div class="row">
        <Button kind="primary" icon="check" aria-keyshortcuts="a" onClick={() => run(Verdict.ALLOW)}>
          Approve <kbd aria-hidden="true">a</kbd>
        </Button>
        <Button kind="danger" icon="close" aria-keyshortcuts="r" onClick={() => run(Verdict.REJECT)}>
          Reject <kbd aria-hidden="true">r</kbd>
        </Button>
      </div>
    </section>
  );
}
