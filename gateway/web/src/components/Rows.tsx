/* A short list of things, each with its name, what is known of it, and what can be done with it. */
import type { ComponentChildren } from "preact";
import css from "./Rows.module.css";

export const Rows = ({ label, children }: { label: string; children: ComponentChildren }) => (
  <ul class={css["rows"]} aria-label={label}>
    {children}
  </ul>
);

export const Row = ({ name, about, actions }: { name: ComponentChildren; about?: ComponentChildren; actions?: ComponentChildren }) => (
  <li class={css["row"]}>
    <div class={css["what"]}>
      <div class={css["name"]}>{name}</div>
      {about && <div class="small soft">{about}</div>}
    </div>
    {actions && <div class={css["do"]}>{actions}</div>}
  </li>
);
