/* Somebody saved the post while it was edited here, in another tab or on another machine: both texts, and a choice. */
import type { Post } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Note } from "../../components/Pieces";
import { Time } from "../../components/Time";
import { changedFields, type Content } from "../../posts/content";
import css from "./edit.module.css";

export interface ConflictProps {
  saved: Post;
  /** What one began to edit. */
  base: Content;
  mine: Content;
  onSaveMine: () => void;
  onTakeSaved: () => void;
}

const NAMES: Record<keyof Content, string> = { title: "Title", body: "Prompt", tags: "Tags" };

export function Conflict({ saved, base, mine, onSaveMine, onTakeSaved }: ConflictProps) {
  const [asking, ask] = useState(false);
  const note = useRef<HTMLDivElement>(null);
  useEffect(() => note.current?.focus(), [saved]);
  const theirs = changedFields(base, saved);
  const own = changedFields(base, mine);
  const both = theirs.filter((field) => own.includes(field));
  const kept = theirs.filter((field) => !own.includes(field));
  return (
    <div ref={note} tabIndex={-1} role="alert" class={css["conflict"]}>
      <Note tone="warn" title="This post was changed meanwhile">
        <p>
          Revision {saved.revision} was saved elsewhere, <Time at={saved.updateTime} />. Nothing you typed is lost: it is in the form below.
        </p>
        {both.map((field) => (
          <div key={field} class={css["both"]}>
            <Text label={`${NAMES[field]}, as saved`} text={textOf(saved, field)} />
            <Text label={`${NAMES[field]}, as you have it`} text={textOf(mine, field)} />
          </div>
        ))}
        {kept.length > 0 && (
          <p>Also changed there, and left as it is saved: {kept.map((field) => NAMES[field].toLowerCase()).join(", ")}.</p>
        )}
        <div class={`row ${css["choice"]}`}>
          <Button onClick={onSaveMine}>{both.length ? "Save mine instead" : "Save mine as well"}</Button>
          <Button onClick={() => (own.length ? ask(true) : onTakeSaved())}>Take the saved text</Button>
        </div>
      </Note>
      {asking && (
        <Confirm
          title="Drop your changes?"
          action="Drop them"
          onClose={() => ask(false)}
          run={async () => {
            ask(false);
            onTakeSaved();
          }}
        >
          <p>The form then shows the post as it is saved.</p>
        </Confirm>
      )}
    </div>
  );
}

const textOf = (content: Content, field: keyof Content): string =>
  field === "tags" ? content.tags.map((tag) => `#${tag}`).join(" ") || "None" : content[field];

const Text = ({ label, text }: { label: string; text: string }) => (
  <figure>
    <figcaption class="small soft">{label}</figcaption>
    <div class={css["text"]} tabIndex={0} role="group" aria-label={label}>
      {text}
    </div>
  </figure>
);
