/* A list that is read page by page, for as long as its page is shown. What needs a session goes through `call`. */
import { PromptmeshError } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { isAbort } from "../components/problems";
import { call } from "./session";

/** Reads one page: the token is empty for the first. */
export type ReadPage<T> = (pageToken: string, signal: AbortSignal) => Promise<{ items: T[]; nextPageToken: string }>;

export interface Paged<T> {
  /** Undefined until the first page is there. */
  items: T[] | undefined;
  loading: boolean;
  error: unknown;
  /** Whether there are more pages. */
  more: boolean;
  loadMore: () => void;
  /** Reads the first page again; what is shown stays until it is there. */
  reload: () => void;
  /** Changes what is shown, after the server has done the same. */
  change: (change: (items: T[]) => T[]) => void;
}

interface Pages<T> {
  items: T[] | undefined;
  token: string;
}

/** Reads the list when it is shown, and from its beginning whenever `key` changes: who asks, what is searched for. */
export function usePaged<T>(key: string, read: ReadPage<T>): Paged<T> {
  const [pages, setPages] = useState<Pages<T>>({ items: undefined, token: "" });
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<unknown>();
  const running = useRef(new AbortController());

  const load = (token: string) => {
    running.current.abort();
    const { signal } = (running.current = new AbortController());
    setLoading(true);
    setError(undefined);
    call(() => read(token, signal)).then(
      (page) => {
        if (signal.aborted) return;
        setPages((was) => ({ items: token ? [...(was.items ?? []), ...page.items] : page.items, token: page.nextPageToken }));
        setLoading(false);
      },
      (caught: unknown) => {
        if (signal.aborted) return;
        setError(withoutSession(caught));
        setLoading(false);
      },
    );
  };
  useEffect(() => {
    load("");
    return () => running.current.abort();
  }, [key]);
  return {
    items: pages.items,
    loading,
    error,
    more: pages.token !== "",
    loadMore: () => load(pages.token),
    reload: () => load(""),
    change: (change) => setPages((was) => ({ ...was, items: change(was.items ?? []) })),
  };
}

export interface Read<T> {
  value: T | undefined;
  error: unknown;
  loading: boolean;
  reload: () => void;
}

/** The same for what is read whole. */
export function useRead<T>(key: string, read: (signal: AbortSignal) => Promise<T>): Read<T> {
  const list = usePaged(key, async (_, signal) => ({ items: [await read(signal)], nextPageToken: "" }));
  return { value: list.items?.[0], error: list.error, loading: list.loading, reload: list.reload };
}

/** Who closed the log-in dialog is told why there is nothing to see. */
const withoutSession = (error: unknown): unknown =>
  isAbort(error)
    ? new PromptmeshError({
        code: "UNAUTHENTICATED",
        reason: "LOG_IN_CLOSED",
        message: "Your session has ended, so this cannot be read. Log in again to see it.",
      })
    : error;
