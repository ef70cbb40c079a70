import type { ButtonHTMLAttributes, AnchorHTMLAttributes, ComponentChildren } from "preact";
import { classes } from "./classes";
import { Icon, type IconName } from "./Icon";
import css from "./Button.module.css";

interface Look {
  /** `primary` for the one thing a page is for; `danger` for what cannot be taken back. */
  kind?: "primary" | "plain" | "quiet" | "danger";
  size?: "m" | "s";
  icon?: IconName;
  children?: ComponentChildren;
}

export interface ButtonProps extends Look, Omit<ButtonHTMLAttributes<HTMLButtonElement>, "size" | "icon" | "label"> {
  /** Shows that it works; it cannot be pressed meanwhile, and keeps the focus. */
  busy?: boolean;
  /** For a button that is only an icon. */
  label?: string;
}

export function Button(props: ButtonProps) {
  const { kind = "plain", size = "m", icon, busy = false, label, children, class: more, onClick, ...rest } = props;
  return (
    <button
      type="button"
      {...rest}
      class={look(kind, size, !children, more as string | undefined)}
      aria-label={label}
      title={children ? undefined : label}
      aria-disabled={busy || undefined}
      onClick={(event) => {
        if (busy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {busy ? <span class={css["spinner"]} /> : icon && <Icon name={icon} size={size === "s" ? 16 : 20} />}
      {children}
      {busy && <span class="visually-hidden">, working</span>}
    </button>
  );
}

export interface LinkButtonProps extends Look, Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "size" | "icon" | "role"> {
  href: string;
}

/** Looks like a button and is a link: goes somewhere, can be opened in a new tab. */
export function LinkButton({ kind = "plain", size = "m", icon, children, class: more, ...rest }: LinkButtonProps) {
  return (
    <a {...rest} class={look(kind, size, false, more as string | undefined)}>
      {icon && <Icon name={icon} size={size === "s" ? 16 : 20} />}
      {children}
    </a>
  );
}

const look = (kind: string, size: string, square: boolean, more: string | undefined): string =>
  classes(css["button"], css[kind], size === "s" && css["small"], square && css["square"], more);
