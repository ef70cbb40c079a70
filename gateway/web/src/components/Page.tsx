/* The frame of a page: its title (also the document's), what can be done, and the content at a width to read. */
import type { ComponentChildren } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { ActingFor } from "../shell/ActingFor";
import { classes } from "./classes";
import css from "./Page.module.css";

export const APP_NAME = "Promptmesh";

export interface PageFrameProps {
  title: string;
  /** Words under the title. */
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  /** Says for which team one acts here: what is made, spent or shown is that team's. */
  acts?: boolean;
  /** `narrow` for a form, `wide` for tables and things side by side. */
  width?: "narrow" | "read" | "wide";
  /** A page whose own content has the heading shows none here (the document's title is still set). */
  heading?: boolean;
  children: ComponentChildren;
}

export function Page({ title, lead, actions, acts = false, width = "read", heading = true, children }: PageFrameProps) {
  useLayoutEffect(() => {
    document.title = title === APP_NAME ? APP_NAME : `${title} · ${APP_NAME}`;
  }, [title]);
  return (
    <div class={classes(css["page"], css[width])}>
      {heading && (
        <header class={css["header"]}>
          <div>
            <div class={css["title"]}>
              <h1 tabIndex={-1}>{title}</h1>
              {acts && <ActingFor />}
            </div>
            {lead && <p class={css["lead"]}>{lead}</p>}
          </div>
          {actions && <div class="row">{actions}</div>}
        </header>
      )}
      {children}
    </div>
  );
}
