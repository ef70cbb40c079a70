/* Work by keyboard. Letters mean something only while nobody types: not in a field, not with a modifier, not in a dialog. */
import { useEffect } from "preact/hooks";
import { Dialog } from "../../components/Dialog";
import css from "./moderation.module.css";

type Action = "next" | "previous" | "approve" | "reject" | "note" | "undo" | "help";

/** What each key does at present. */
export const actions: Partial<Record<Action, () => void>> = {};

const KEYS: { key: string; action: Action; words: string }[] = [
  { key: "j", action: "next", words: "Next case" },
  { key: "k", action: "previous", words: "Previous case" },
  { key: "a", action: "approve", words: "Approve" },
  { key: "r", action: "reject", words: "Reject" },
  { key: "n", action: "note", words: "Write a note; Escape leaves it" },
  { key: "u", action: "undo", words: "Take the last decision back" },
  { key: "?", action: "help", words: "Show these keys" },
];

const FIELD = "input, textarea, select, [contenteditable]";

/** Moves the focus to the case that is shown, once it stands; not from under somebody who types by then. */
export const focusCase = () =>
  void requestAnimationFrame(() => document.activeElement?.matches(FIELD) || document.getElementById("case-title")?.focus());

export function useKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { target } = event;
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (document.querySelector("dialog[open]") || !(target instanceof HTMLElement)) return;
      if (target.closest(FIELD)) {
        if (event.key === "Escape") target.blur();
        return;
      }
      // A key held down decides one case, not the whole queue.
      const action = event.repeat && !"jk".includes(event.key) ? undefined : KEYS.find(({ key }) => key === event.key)?.action;
      const run = action && actions[action];
      if (!run) return;
      event.preventDefault();
      run();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

export function KeysDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class={css["keys"]}>
        {KEYS.map(({ key, words }) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{words}</dd>
          </div>
        ))}
      </dl>
      <p class="faint small">They do nothing while you type in a field.</p>
    </Dialog>
  );
}
