/* The playground: a conversation with a model, what each answer took, and the same call in other languages. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Page } from "../../components/Page";
import { ErrorNote } from "../../components/Pieces";
import { query, setQuery } from "../../router/router";
import { toast } from "../../state/toasts";
import { Composer } from "./Composer";
import { CopyAs } from "./CopyAs";
import { Settings } from "./Settings";
import { TurnView } from "./TurnView";
import { again, clear, conversation, keep, loadPost, models, readModels, reopen, running, send, stop } from "./store";
import type { Refused } from "./store";
import css from "./playground.module.css";

const NEAR_BOTTOM_PX = 120;

export default function Playground() {
  useState(reopen);
  const [postError, setPostError] = useState<unknown>();
  const [hint, setHint] = useState("");
  const composer = useRef<HTMLDivElement>(null);
  const { turns, system, next } = conversation.value;
  const postId = query.value.get("post");

  useEffect(() => {
    const leaving = new AbortController();
    if (!models.value) void readModels(leaving.signal);
    addEventListener("pagehide", keep);
    return () => {
      leaving.abort();
      stop();
      removeEventListener("pagehide", keep);
    };
  }, []);

  useEffect(() => {
    if (!postId) return;
    const leaving = new AbortController();
    loadPost(postId, leaving.signal).then(
      (undo) => {
        setPostError(undefined);
        setQuery({ post: undefined });
        if (undo) toast("The post's prompt is in place of your conversation.", { action: { label: "Bring it back", run: undo } });
      },
      (error: unknown) => !leaving.signal.aborted && setPostError(error),
    );
    return () => leaving.abort();
  }, [postId]);

  const done = (refused: Refused) => {
    setHint(refused === "message" ? "Write a message first." : refused === "parameters" ? "A parameter is not right." : "");
    const wrong = refused === "parameters" ? "[aria-invalid]" : "textarea";
    if (refused) requestAnimationFrame(() => reveal(refused === "parameters" ? document : composer.current, wrong));
  };
  const run = () => done(send());

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        run();
      } else if (event.key === "Escape" && running.value !== undefined) {
        event.preventDefault();
        stop();
      }
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);

  useFollow();
  const empty = !turns.length && !system && !next;
  return (
    <Page
      title="Playground"
      acts
      width="wide"
      lead="Ask a model, see what it takes, and take the call with you."
      actions={
        !empty && (
          <Button
            size="s"
            icon="trash"
            onClick={() => toast("The conversation is cleared.", { action: { label: "Undo", run: clear() } })}
          >
            Clear
          </Button>
        )
      }
    >
      {postError !== undefined && <ErrorNote title="The post could not be read" error={postError} />}
      <div class={css["layout"]}>
        <Settings />
        <div class={css["conversation"]}>
          {turns.length > 0 && (
            <ol class="stack" aria-label="Conversation">
              {turns.map((turn, at) => (
                <li key={turn.id}>
                  <TurnView turn={turn} last={at === turns.length - 1} onAgain={() => done(again(turn.id))} />
                </li>
              ))}
            </ol>
          )}
          <div ref={composer}>
            <Composer hint={hint} onSend={run} />
          </div>
        </div>
      </div>
      <CopyAs />
    </Page>
  );
}

/** Shows and focuses the first such control, opening what it is folded into. */
function reveal(within: ParentNode | null, selector: string): void {
  const control = within?.querySelector<HTMLElement>(selector);
  const folded = control?.closest("details");
  if (folded) folded.open = true;
  control?.focus();
}

/** Keeps the end of a growing answer in sight, for who is at the end already. */
function useFollow(): void {
  const { turns } = conversation.value;
  const grows = running.value === undefined ? "" : `${turns.length} ${turns.at(-1)?.text.length}`;
  const bottom = useRef(false);
  if (grows) bottom.current = innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_BOTTOM_PX;
  useEffect(() => {
    if (grows && bottom.current && scrollY > 0) scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }, [grows]);
}
