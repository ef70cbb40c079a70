/* The secret of a link from a mail stands behind `#`, which no server sees. It is taken out of the address at once, so
   that neither history, nor a copied address, nor a screenshot has it, and is kept in memory alone. */
import { signal } from "@preact/signals";

/** The path that the link led to, and its secret. */
const taken = signal<{ path: string; token: string } | undefined>(undefined);

export function startLinks(): void {
  take();
  // A second link, pasted into the same tab, loads nothing anew.
  addEventListener("hashchange", take);
}

function take(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  taken.value = { path: location.pathname, token };
  history.replaceState(history.state, "", location.pathname + location.search);
}

/** The secret of the link that led to this page; undefined: it was opened without one. */
export const linkToken = (): string | undefined => (taken.value?.path === location.pathname ? taken.value.token : undefined);

export function forgetLink(): void {
  taken.value = undefined;
}
