/* Where one is. Links are plain `<a href>`: one listener on the document turns those of ours into navigation. */
import { computed, signal } from "@preact/signals";
import { findRoute, type Match } from "./routes";
import { scrollBack, scrollNow, stopScrolling, TOP, type Scroll } from "./scroll";

interface Place {
  path: string;
  query: string;
  /** Counts navigations, so that going to where one is already starts the page anew. */
  visit: number;
}

const here = (visit: number): Place => ({ path: location.pathname, query: location.search, visit });

export const place = signal<Place>(here(0));
export const query = computed(() => new URLSearchParams(place.value.query));
export const match = computed<Match>(() => findRoute(place.value.path));

/** What may keep one from leaving: answers false to stay. One page at a time sets it. */
let guard: (() => boolean) | undefined;

// Where each entry of the history was scrolled to, by the key in its state.
const scrolls = new Map<string, Scroll>();
let key = entryKey();

function entryKey(): string {
  const state = history.state as { key?: string } | null;
  return state?.key ?? "";
}

export interface NavigateOptions {
  /** In place of the entry one is at: after a form that has done its work. */
  replace?: boolean;
  /** The link that was followed: going back finds it where it was. */
  from?: Element;
}

/** Goes to a path of the app, such as `/p/…?tab=1`. */
export function navigate(to: string, { replace = false, from }: NavigateOptions = {}): void {
  const url = new URL(to, location.href);
  if (url.origin !== location.origin) throw new Error(`${to} is not a place of this app`);
  if (guard && !guard()) return;
  leave(from);
  key = crypto.randomUUID();
  history[replace ? "replaceState" : "pushState"]({ key }, "", url);
  place.value = here(place.value.visit + 1);
  pendingScroll = TOP;
}

function leave(from?: Element): void {
  // A page that is left before it was shown is still to be scrolled to where it was.
  scrolls.set(key, pendingScroll ?? scrollNow(from));
  stopScrolling();
}

/** Changes the query without a navigation: filters and tabs that a link should keep. */
export function setQuery(changes: Record<string, string | undefined>): void {
  const next = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  const text = next.toString();
  history.replaceState({ key }, "", `${location.pathname}${text ? `?${text}` : ""}`);
  place.value = here(place.value.visit);
}

/** Asks `mayLeave` before a navigation; answers what ends that. */
export function guardLeaving(mayLeave: () => boolean): () => void {
  guard = mayLeave;
  return () => {
    if (guard === mayLeave) guard = undefined;
  };
}

/** Where the page that comes next scrolls to once it is shown; see `settleScroll`. */
let pendingScroll: Scroll | undefined;

/** Called by the shell when a page has been shown. */
export function settleScroll(): void {
  if (pendingScroll === undefined) return;
  scrollBack(pendingScroll);
  pendingScroll = undefined;
}

export function startRouter(): void {
  history.scrollRestoration = "manual";
  if (!key) {
    key = crypto.randomUUID();
    history.replaceState({ key }, "");
  }
  addEventListener("popstate", () => {
    leave();
    key = entryKey();
    pendingScroll = scrolls.get(key) ?? TOP;
    place.value = here(place.value.visit + 1);
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = ownLink(event.target);
    if (!link) return;
    event.preventDefault();
    navigate(link.pathname + link.search + link.hash, { from: link });
  });
  // The code of a page is fetched while the pointer or the focus is still on its way.
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(
      kind,
      (event) => {
        const link = ownLink(event.target);
        if (link) void findRoute(link.pathname).route.load().catch(() => undefined);
      },
      { passive: true },
    );
  }
}

function ownLink(target: EventTarget | null): HTMLAnchorElement | undefined {
  const link = target instanceof Element ? target.closest("a") : null;
  if (!link?.href || link.target || link.hasAttribute("download") || link.origin !== location.origin) return undefined;
  if (link.hash && link.pathname === location.pathname && link.search === location.search) return undefined;
  // Paths that the edge serves itself: the reference, the API, files.
  return findRoute(link.pathname).route.name === "not-found" ? undefined : link;
}
