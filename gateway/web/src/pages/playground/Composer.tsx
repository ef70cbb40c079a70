/* The next message, and the button that sends it or stops the answer. */
import { Button } from "../../components/Button";
import { Checkbox, TextArea } from "../../components/Field";
import { change, conversation, models, running, stop } from "./store";
import css from "./playground.module.css";

const MESSAGE_CHARACTERS_MAX = 1_000_000;
const apple = /Mac|iPhone|iPad/.test(navigator.userAgent);

export function Composer({ hint, onSend }: { hint: string; onSend: () => void }) {
  const { turns, next, markdown } = conversation.value;
  const busy = running.value !== undefined;
  return (
    <div class="stack">
      <TextArea
        label={turns.length ? "Next message" : "Message"}
        rows={turns.length ? 3 : 6}
        maxLength={MESSAGE_CHARACTERS_MAX}
        value={next}
        error={hint && !next.trim() ? hint : undefined}
        onValue={(value) => change({ next: value })}
      />
      <div class="row">
        <Button
          kind={busy ? "danger" : "primary"}
          icon={busy ? "stop" : "play"}
          aria-keyshortcuts={busy ? "Escape" : apple ? "Meta+Enter" : "Control+Enter"}
          disabled={!busy && !models.value?.length}
          onClick={busy ? stop : onSend}
        >
          {busy ? "Stop" : "Run"}
        </Button>
        <span class={css["keys"]}>
          {busy ? (
            <>
              <kbd>Esc</kbd> stops
            </>
          ) : (
            <>
              <kbd>{apple ? "⌘" : "Ctrl"}</kbd> <kbd>Enter</kbd> runs
            </>
          )}
        </span>
        <div class={css["switch"]}>
          <Checkbox label="Show Markdown" checked={markdown} onChecked={(checked) => change({ markdown: checked })} />
        </div>
      </div>
    </div>
  );
}
