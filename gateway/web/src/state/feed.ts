/* One watch of the feed for all tabs. The tab that holds the lock reads the stream and tells the others; when it is
   closed the next one gets the lock and goes on. So ten tabs need one connection of the six that HTTP/1.1 allows. */
import { watchFeed, type WatchFeedResponse, type WatchState } from "@promptmesh/client";
import { api } from "./api";
import { streamState } from "./connection";

/** `gap`: something may have been missed; read afresh what is shown. */
export type FeedEvent = WatchFeedResponse["event"] | { case: "gap" };
type Listener = (event: FeedEvent) => void;
type Said =
  | { kind: "event"; cursor: bigint; event: WatchFeedResponse["event"] }
  | { kind: "gap" }
  | { kind: "state"; state: "connected" | "reconnecting" };

const RETRY_MS = 5_000;
const LOCK = "promptmesh-feed";
const tabs = new BroadcastChannel(LOCK);
const listeners = new Set<Listener>();
let cursor: bigint | undefined;
let started = false;

/** Tells `listener` of everything that happens in the feed; answers what ends that. */
export function listenToFeed(listener: Listener): () => void {
  listeners.add(listener);
  if (!started) start();
  return () => listeners.delete(listener);
}

function start(): void {
  started = true;
  tabs.onmessage = ({ data }: MessageEvent<Said>) => hear(data);
  // Held until the tab is closed. A tab in the back/forward cache gives it up, and asks again when it comes back.
  let held = new AbortController();
  const lead = () => {
    held = new AbortController();
    const { signal } = held;
    void navigator.locks
      .request(LOCK, { signal }, () => follow(signal))
      .catch(() => undefined)
      // What ends a watch for good is over after a while: a session that ended under it is asked no more.
      .finally(() => signal.aborted || setTimeout(lead, RETRY_MS));
  };
  addEventListener("pagehide", () => held.abort());
  addEventListener("pageshow", (event) => event.persisted && lead());
  lead();
}

async function follow(signal: AbortSignal): Promise<void> {
  const onState = ({ state }: WatchState) => {
    if (state !== "connecting") say({ kind: "state", state: state === "live" ? "connected" : "reconnecting" });
    // What happened before the first watch was live, or in a gap, came to nobody.
    if (state === "live" && cursor === undefined) say({ kind: "gap" });
  };
  const onGap = () => say({ kind: "gap" });
  const after = cursor === undefined ? {} : { after: cursor };
  for await (const message of watchFeed(api.posts, after, { signal, onState, onGap })) {
    if (message.event.case) say({ kind: "event", cursor: message.cursor, event: message.event });
  }
}

function say(said: Said): void {
  tabs.postMessage(said);
  hear(said);
}

function hear(said: Said): void {
  if (said.kind === "state") return streamState("feed", said.state);
  if (said.kind === "event") cursor = said.cursor;
  const event = said.kind === "gap" ? ({ case: "gap" } as const) : said.event;
  for (const listener of listeners) listener(event);
}
