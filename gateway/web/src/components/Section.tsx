/* A part of a page with a heading of its own, on a card. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { Card } from "./Pieces";

export function Section({ title, lead, actions, children }: { title: string; lead?: ComponentChildren; actions?: ComponentChildren; children: ComponentChildren }) {
  const id = useId();
  return (
    <Card>
      <section class="stack" aria-labelledby={id}>
        <div class="row spread">
          <h2 id={id}>{title}</h2>
          {actions && <div class="row">{actions}</div>}
        </div>
        {lead && <p class="soft">{lead}</p>}
        {children}
      </section>
    </Card>
  );
}
