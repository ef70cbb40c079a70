import { useEffect, useRef, useState } from "preact/hooks";
import { toast } from "../state/toasts";
import { Button } from "./Button";

const SAID_MS = 2_000;

export function CopyButton({ text, label = "Copy", onCopied }: { text: string; label?: string; onCopied?: () => void }) {
  const [copied, setCopied] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // What was copied is another text than the one that stands here now: this one was not.
  const said = copied !== "" && copied === text;
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      toast("The browser did not allow copying. Select the text and copy it by hand.", { kind: "problem" });
      return;
    }
    onCopied?.();
    setCopied(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(""), SAID_MS);
  };
  return (
    <Button size="s" kind="quiet" icon={said ? "check" : "copy"} onClick={() => void copy()}>
      <span aria-live="polite">{said ? "Copied" : label}</span>
    </Button>
  );
}
