/* A table that scrolls sideways where it does not fit: by keyboard too, so it is a region with a name. */
import type { ComponentChildren } from "preact";
import { classes } from "./classes";
import css from "./Table.module.css";

/** Class of a cell whose words may take several lines. */
export const wraps = css["wraps"];

export interface TableProps {
  label: string;
  /** All columns but the first are numbers. */
  numbers?: boolean;
  /** `thead` and `tbody`. */
  children: ComponentChildren;
}

export const Table = ({ label, numbers, children }: TableProps) => (
  <div class={classes(css["table"], numbers && css["figures"])} tabIndex={0} role="region" aria-label={label}>
    <table>{children}</table>
  </div>
);
