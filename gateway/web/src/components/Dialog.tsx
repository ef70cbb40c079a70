/* A dialog over the page. The browser's own: it holds the focus, Escape closes it, and the focus goes back. */
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "./Button";
import css from "./Dialog.module.css";

export interface DialogProps {
  title: string;
  /** Asked to close: by Escape, by the button, by a press beside it. */
  onClose: () => void;
  children: ComponentChildren;
  /** Buttons at its foot. */
  actions?: ComponentChildren;
}

/** Render it to open it, stop rendering it to close it. */
export function Dialog({ title, onClose, children, actions }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  // With the page's change, not some time after it: by then the focus may be where a key has put it.
  useLayoutEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={css["dialog"]}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === dialog.current && onClose()}
    >
      <div class={css["inside"]}>
        <header class={css["header"]}>
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" icon="close" label="Close" onClick={onClose} />
        </header>
        {children}
        {actions && <footer class={css["footer"]}>{actions}</footer>}
      </div>
    </dialog>
  );
}
