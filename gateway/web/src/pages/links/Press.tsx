/* One button that takes a link. Pressed, not done by opening the page: programs open links of mails too. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { ErrorNote } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { call } from "../../state/session";
import { AnotherLink, linkOver } from "./LinkOver";

export function Press({ action, run, again }: { action: string; run: () => Promise<void>; again: ComponentChildren }) {
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
    <div class="stack">
      <div class="row">
        <Button kind="primary" busy={busy} onClick={() => void go()}>
          {action}
        </Button>
      </div>
      {error !== undefined && <ErrorNote error={error} />}
      {linkOver(error) && <AnotherLink>{again}</AnotherLink>}
    </div>
  );
}
