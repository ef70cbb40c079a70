/* Short words about what just happened. Never the only place of an error that a form or a page can show itself. */
import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  kind: "done" | "problem";
  text: string;
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 6_000;
const AT_MOST = 3;

export const toasts = signal<Toast[]>([]);
let last = 0;

/** Shows it; a problem stays until it is dismissed, other words go after a while. */
export function toast(text: string, { kind = "done", action }: Partial<Omit<Toast, "id" | "text">> = {}): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(1 - AT_MOST), { id, kind, text, ...(action && { action }) }];
  if (kind === "done") setTimeout(() => dismiss(id), SHOWN_MS);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}
