/* Ten recovery codes, shown this once. It closes by its button alone: they are nowhere else. */
import { useEffect, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { CopyButton } from "../../components/CopyButton";
import { Dialog } from "../../components/Dialog";
import { download } from "../../components/download";
import { useUnsaved } from "../../components/form";
import { guardLeaving } from "../../router/router";
import { user } from "../../state/session";
import css from "./account.module.css";

const LEAVE = "These codes are shown only now. Leave without having stored them?";

export function RecoveryCodes({ codes, onStored }: { codes: string[]; onStored: () => void }) {
  const [pressed, setPressed] = useState(false);
  useUnsaved(true);
  useEffect(() => guardLeaving(() => confirm(LEAVE)), []);
  const text = codes.join("\n");
  const file = `Recovery codes of ${user.value?.email ?? "your account"}, ${location.host}\nEach is good once.\n\n${text}\n`;
  return (
    <Dialog
      title="Store your recovery codes"
      onClose={() => setPressed(true)}
      actions={
        <Button kind="primary" onClick={onStored}>
          I have stored them
        </Button>
      }
    >
      <p>If your app or passkey is lost, each of these lets you in once. Keep them where you keep important papers. They are shown this once.</p>
      <ul class={css["codes"]} aria-label="Recovery codes">
        {codes.map((code) => (
          <li key={code}>
            <code>{code}</code>
          </li>
        ))}
      </ul>
      <div class="row">
        <CopyButton text={text} label="Copy all" />
        <Button size="s" kind="quiet" onClick={() => download("promptmesh-recovery-codes.txt", "text/plain", file)}>
          Download as a file
        </Button>
      </div>
      {pressed && (
        <p role="alert" class="small">
          Store them first: they cannot be shown again.
        </p>
      )}
    </Dialog>
  );
}
