/* Code to read and to copy; it scrolls sideways by keyboard too. */
import { CopyButton } from "./CopyButton";
import css from "./CodeBlock.module.css";

export function CodeBlock({ code, label = "Code" }: { code: string; label?: string }) {
  return (
    <figure class={css["block"]}>
      <div class={css["top"]}>
        <figcaption>{label}</figcaption>
        <CopyButton text={code} />
      </div>
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{code}</code>
      </pre>
    </figure>
  );
}
