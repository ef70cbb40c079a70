/* A button that opens a list of links and actions. Arrow keys move, Escape closes, leaving it closes. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./Icon";
import { classes } from "./classes";
import css from "./Menu.module.css";

export interface MenuItem {
  label: string;
  icon?: IconName;
  href?: string;
  run?: () => void;
  /** Marks the one of several that holds. */
  checked?: boolean;
}

export interface MenuProps {
  label: string;
  trigger: ComponentChildren;
  items: MenuItem[];
  /** When it opens: to read what more stands in it. */
  onOpen?: () => void;
}

export function Menu({ label, trigger, items, onOpen }: MenuProps) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const id = useId();

  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>("[data-item]")?.focus();
    const away = (event: Event) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [open]);

  const close = (focusBack: boolean) => {
    setOpen(false);
    if (focusBack) root.current?.querySelector("button")?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return;
    if (event.key === "Escape") {
      event.preventDefault();
      close(true);
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...(root.current?.querySelectorAll<HTMLElement>("[data-item]") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    all.at((at + step) % all.length)?.focus();
  };

  return (
    <div class={css["root"]} ref={root} onKeyDown={onKeyDown}>
      <button
        type="button"
        class={css["trigger"]}
        aria-label={label}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => {
          if (!open) onOpen?.();
          setOpen(!open);
        }}
      >
        {trigger}
      </button>
      {open && (
        <ul id={id} class={css["list"]}>
          {items.map((item, index) => (
            <li key={`${index} ${item.label}`}>
              {item.href ? (
                <a data-item href={item.href} class={css["item"]} onClick={() => close(false)}>
                  <Face {...item} />
                </a>
              ) : (
                <button
                  data-item
                  type="button"
                  class={css["item"]}
                  aria-pressed={item.checked}
                  onClick={() => {
                    close(true);
                    item.run?.();
                  }}
                >
                  <Face {...item} />
                </button>
              )}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

const Face = ({ label, icon, checked }: MenuItem) => (
  <>
    {icon && <Icon name={icon} size={18} />}
    <span class={classes(css["text"])}>{label}</span>
    {checked && <Icon name="check" size={16} />}
  </>
);
