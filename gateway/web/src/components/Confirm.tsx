/* Asks before what cannot be taken back. What goes wrong is told in the dialog, which then stays. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { call } from "../state/session";
import { Button } from "./Button";
import { Dialog } from "./Dialog";
import { ErrorNote } from "./Pieces";
import { isAbort } from "./problems";

export interface ConfirmProps {
  title: string;
  /** What happens, and to what. */
  children: ComponentChildren;
  /** The button's words: "Revoke", never "OK". */
  action: string;
  kind?: "danger" | "primary";
  onClose: () => void;
  /** Runs through `call`. It closes the dialog itself, by what it changes. */
  run: () => Promise<void>;
}

export function Confirm({ title, children, action, kind = "danger", onClose, run }: ConfirmProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const go = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await call(run);
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog
      title={title}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind={kind} busy={busy} onClick={() => void go()}>
            {action}
          </Button>
        </>
      }
    >
      {children}
      {error !== undefined && <ErrorNote error={error} />}
    </Dialog>
  );
}
