/* A post as it is now, for the page that shows it. All tabs with the same post share one watch: the tab that holds the
   lock reads the stream and tells the others what it knows. A hidden tab watches nothing, for HTTP/1.1 allows six
   connections in all; when it is seen again the stream begins with the post as it then is. */
import { PromptmeshError, WatchEnd, watchPost, type Post, type WatchState } from "@promptmesh/client";
import { signal } from "@preact/signals";
import { isAbort } from "../components/problems";
import { api } from "../state/api";
import { streamState } from "../state/connection";
import { who } from "../state/session";
import { grown, renewed } from "./growing";
import { listenToLikes, withLike, type Like } from "./likes";

const KEPT_AT_MOST = 50;

type Said =
  /** A tab that has just opened the post, or came back to it. */
  | { kind: "asks" }
  | { kind: "post"; post: Post }
  | { kind: "gone" }
  | { kind: "state"; state: "connected" | "reconnecting" };

export class LivePost {
  readonly post = signal<Post | undefined>();
  /** Deleted, or no longer to be seen by this reader. */
  readonly gone = signal(false);
  /** Why there is no post to show. */
  readonly error = signal<unknown>();
  #again = (): void => undefined;

  constructor(
    readonly postId: string,
    readonly reader: string,
  ) {}

  /** Follows the post until what it answers is called. One page at a time. */
  open(): () => void {
    const name = `promptmesh-post-${this.postId}-${this.reader}`;
    const tabs = new BroadcastChannel(name);
    let held = new AbortController();
    let leads = false;
    const say = (said: Said) => {
      tabs.postMessage(said);
      this.#hear(said);
    };
    const lead = () => {
      held.abort();
      held = new AbortController();
      const { signal } = held;
      const follow = async () => {
        leads = true;
        await this.#follow(signal, say).finally(() => (leads = false));
      };
      navigator.locks.request(name, { signal }, follow).catch((error: unknown) => {
        if (!signal.aborted) this.#fail(error);
      });
      tabs.postMessage({ kind: "asks" } satisfies Said);
    };
    tabs.onmessage = ({ data }: MessageEvent<Said>) => {
      const post = this.post.value;
      if (data.kind !== "asks") this.#hear(data);
      else if (leads && post) tabs.postMessage({ kind: "post", post } satisfies Said);
    };
    const onVisibility = () => {
      if (document.visibilityState === "visible") lead();
      else held.abort();
    };
    const onLikes = listenToLikes((like) => like.postId === this.postId && this.like(like));
    document.addEventListener("visibilitychange", onVisibility);
    this.#again = () => {
      this.error.value = undefined;
      lead();
    };
    if (document.visibilityState === "visible") lead();
    else void this.#read();
    return () => {
      document.removeEventListener("visibilitychange", onVisibility);
      onLikes();
      held.abort();
      tabs.close();
      streamState("post", "connected");
    };
  }

  /** After an error: from the beginning. */
  retry(): void {
    this.#again();
  }

  like(like: Pick<Like, "liked" | "likeCount">): void {
    if (this.post.value) this.post.value = withLike(this.post.value, like);
  }

  /** The post as an answer of the mesh told it. */
  take(post: Post): void {
    this.post.value = renewed(this.post.value, post);
    this.gone.value = false;
    this.error.value = undefined;
  }

  async #follow(signal: AbortSignal, say: (said: Said) => void): Promise<void> {
    const onState = (state: WatchState) => {
      if (state.state === "connecting") return;
      say({ kind: "state", state: state.state === "live" ? "connected" : "reconnecting" });
    };
    for await (const { event } of watchPost(api.posts, { postId: this.postId }, { signal, onState })) {
      const known = this.post.value;
      if (event.case === "post") say({ kind: "post", post: renewed(known, event.value) });
      else if (event.case === "exampleDelta" && known) say({ kind: "post", post: grown(known, event.value) });
      else if (event.case === "done" && event.value.reason === WatchEnd.DELETED) say({ kind: "gone" });
    }
  }

  #hear(said: Said): void {
    if (said.kind === "post") this.take(said.post);
    else if (said.kind === "gone") this.gone.value = true;
    else if (said.kind === "state") {
      streamState("post", said.state);
      // The watch comes back by itself; until then the post can be read, or the page must say why not.
      if (said.state === "reconnecting" && !this.post.value) void this.#read();
    }
  }

  async #read(): Promise<void> {
    try {
      const post = await api.posts.getPost({ postId: this.postId });
      this.take(post);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (isAbort(error)) return;
    if (!this.post.value) this.error.value = error;
    // A session that ended under its author is no reason to take it away.
    else if (isMissing(error) && who.value.state !== "expired") this.gone.value = true;
  }
}

/** Whether the mesh says that there is no such post, or that the id is none. */
export const isMissing = (error: unknown): boolean =>
  error instanceof PromptmeshError &&
  (error.code === "NOT_FOUND" || error.violations.some(({ field }) => field === "post_id" || field === "post.post_id"));

const known = new Map<string, LivePost>();

/** The post for a reader (a user's id; empty: nobody in particular). It is kept, so that going back finds it at once. */
export function livePost(postId: string, reader: string): LivePost {
  const key = `${reader}/${postId}`;
  let live = known.get(key);
  if (!live) {
    // Nothing of another person's stays; what everyone may see is a beginning for who has just logged in.
    const seen = known.get(`/${postId}`)?.post.peek();
    for (const other of known.keys()) if (!other.startsWith("/") && !other.startsWith(`${reader}/`)) known.delete(other);
    live = new LivePost(postId, reader);
    if (reader && seen) live.post.value = seen;
  }
  known.delete(key);
  known.set(key, live);
  if (known.size > KEPT_AT_MOST) known.delete(known.keys().next().value!);
  return live;
}
