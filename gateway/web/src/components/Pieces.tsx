/* Small things to look at: cards, tags, badges, what stands there while something loads, is missing or failed. */
import type { ComponentChildren } from "preact";
import { Button } from "./Button";
import { classes } from "./classes";
import { Icon, type IconName } from "./Icon";
import { problemOf } from "./problems";
import css from "./Pieces.module.css";
import { to } from "../router/routes";

export function Card({ children, quiet = false }: { children: ComponentChildren; quiet?: boolean }) {
  return <div class={classes(css["card"], quiet && css["quiet"])}>{children}</div>;
}

/** A tag of a post, as a link to its feed. */
export function Tag({ name }: { name: string }) {
  return (
    <a class={css["tag"]} href={to.tag(name)}>
      <span aria-hidden="true">#</span>
      {name}
    </a>
  );
}

export type Tone = "neutral" | "accent" | "good" | "warn" | "bad";

/** A state in one or two words; the colour only repeats what they say. */
export function Badge({ tone = "neutral", icon, children }: { tone?: Tone; icon?: IconName; children: ComponentChildren }) {
  return (
    <span class={classes(css["badge"], css[tone])}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </span>
  );
}

/** Lines that stand where text will be. `label` tells a screen reader what is loading. */
export function Skeleton({ lines = 3, label = "Loading" }: { lines?: number; label?: string }) {
  return (
    <div class={css["skeleton"]} role="status">
      <span class="visually-hidden">{label}…</span>
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} class={css["line"]} aria-hidden="true" />
      ))}
    </div>
  );
}

/** Nothing here, why, and what to do about it. */
export function EmptyState(props: { title: string; children?: ComponentChildren; action?: ComponentChildren }) {
  return (
    <div class={css["empty"]}>
      <h2>{props.title}</h2>
      {props.children && <p class="soft">{props.children}</p>}
      {props.action}
    </div>
  );
}

/** What went wrong, what to do, and, of a fault of the mesh, the id that an operator finds it by. */
export function ErrorNote({ error, retry, title }: { error: unknown; retry?: () => void; title?: string }) {
  const problem = problemOf(error);
  return (
    <div class={classes(css["note"], css["bad"])} role="alert">
      <Icon name="warning" />
      <div class={css["note-text"]}>
        {title && <strong>{title}</strong>}
        <p>{problem.text}</p>
        {problem.requestId && (
          <p class={css["request"]}>
            Request <code>{problem.requestId}</code>
          </p>
        )}
        {retry && problem.retryable && (
          <Button size="s" onClick={retry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** Words that stand beside the content and matter: held, rejected, about to end. */
export function Note({ tone = "accent", title, children }: { tone?: Tone; title?: string; children: ComponentChildren }) {
  return (
    <div class={classes(css["note"], css[tone])}>
      {tone !== "accent" && tone !== "neutral" && <Icon name={tone === "good" ? "check" : "warning"} />}
      <div class={css["note-text"]}>
        {title && <strong>{title}</strong>}
        {children}
      </div>
    </div>
  );
}

/** A wait: with `value` of `max` where it is known, else only that it goes on. */
export function Progress({ label, value, max = 1 }: { label: string; value?: number; max?: number }) {
  return (
    <div class={css["progress"]}>
      <span class="small soft">{label}</span>
      <progress aria-label={label} max={max} {...(value === undefined ? {} : { value })} />
    </div>
  );
}

/** The first letters of a name, in a circle: a picture, so they are drawn by the style and are no text. */
export function Avatar({ name, size = "m" }: { name: string; size?: "s" | "m" | "l" }) {
  const letters = name
    .trim()
    .split(/\s+/)
    .slice(0, 2)
    .map((word) => [...word][0] ?? "")
    .join("");
  return (
    <span class={classes(css["avatar"], css[`avatar-${size}`])} data-letters={letters || "?"} aria-hidden="true" />
  );
}
