import { Button } from "../components/Button";
import { classes } from "../components/classes";
import { Icon } from "../components/Icon";
import { connection } from "../state/connection";
import { dismiss, toasts } from "../state/toasts";
import css from "../app.module.css";

const WORDS = {
  connected: "",
  offline: "You are offline. What you see may be old; it goes on by itself when the network is back.",
  reconnecting: "The connection was lost. Reconnecting…",
  recovered: "Connected again.",
};

export function ConnectionBanner() {
  const state = connection.value;
  return (
    <div role="status" data-connection={state}>
      {state !== "connected" && (
        <div class={classes(css["banner"], state === "recovered" && css["fine"])}>
          <Icon name={state === "recovered" ? "check" : "warning"} size={16} />
          {WORDS[state]}
        </div>
      )}
    </div>
  );
}

export function Toasts() {
  return (
    <div class={css["toasts"]} role="log" aria-live="polite" aria-label="Messages">
      {toasts.value.map(({ id, kind, text, action }) => (
        <div key={id} class={classes(css["toast"], kind === "problem" && css["problem"])}>
          <Icon name={kind === "done" ? "check" : "warning"} size={18} />
          <span>{text}</span>
          {action && (
            <Button
              size="s"
              onClick={() => {
                dismiss(id);
                action.run();
              }}
            >
              {action.label}
            </Button>
          )}
          <Button size="s" kind="quiet" icon="close" label="Dismiss" onClick={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}
