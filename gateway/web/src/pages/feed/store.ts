/* The posts of one feed: pages read so far, and what has come since, which waits until it is asked for. It outlives the
   page, so that going back finds the list and the scroll position as they were. */
import { PostState, type Post } from "@promptmesh/client";
import { batch, signal } from "@preact/signals";
import { millis } from "../../components/Time";
import { grown, renewed } from "../../posts/growing";
import { listenToLikes, withLike } from "../../posts/likes";
import { api } from "../../state/api";
import { listenToFeed, type FeedEvent } from "../../state/feed";

const PAGE_SIZE = 20;
const FRESH_AT_MOST = 100;

export class FeedStore {
  readonly posts = signal<Post[]>([]);
  /** Published since the list was read, newest first. */
  readonly fresh = signal<Post[]>([]);
  readonly loading = signal(false);
  readonly loaded = signal(false);
  readonly error = signal<unknown>(undefined);
  readonly more = signal(false);
  #token = "";
  /** Likes of one's own, so that a list read before one does not take it back: when, and what was said of the post. */
  readonly #liked = new Map<string, { at: number; now: Pick<Post, "liked" | "likeCount"> }>();
  #steps = 0;
  /** Whom `liked` was read for. */
  #reader: string | undefined;

  constructor(readonly tag: string) {
    listenToFeed((event) => this.#hear(event));
    listenToLikes((like) => {
      const post = this.#find(like.postId);
      if (post) this.change(withLike(post, like));
    });
  }

  /** Reads the first page, unless it is there for the same reader already. */
  async open(reader: string | undefined): Promise<void> {
    if (this.loaded.value && this.#reader === reader) return;
    this.#reader = reader;
    await this.reload();
  }

  async reload(): Promise<void> {
    this.#token = "";
    await this.#read((page) => {
      this.posts.value = page;
      this.fresh.value = [];
    });
  }

  async loadMore(): Promise<void> {
    await this.#read((page) => {
      const known = new Set(this.posts.value.map((post) => post.postId));
      this.posts.value = [...this.posts.value, ...page.filter((post) => !known.has(post.postId))];
    });
  }

  /** Puts what has come on top. */
  showFresh(): void {
    batch(() => {
      this.posts.value = [...this.fresh.value, ...this.posts.value];
      this.fresh.value = [];
    });
  }

  /** One's own change of a post. */
  change(post: Post): void {
    this.#liked.set(post.postId, { at: ++this.#steps, now: { liked: post.liked, likeCount: post.likeCount } });
    this.#replace(post);
  }

  #replace(post: Post): void {
    const swap = (list: Post[]) => list.map((one) => (one.postId === post.postId ? post : one));
    batch(() => {
      this.posts.value = swap(this.posts.value);
      this.fresh.value = swap(this.fresh.value);
    });
  }

  #find(postId: string): Post | undefined {
    return [...this.fresh.value, ...this.posts.value].find((post) => post.postId === postId);
  }

  async #read(take: (page: Post[]) => void): Promise<void> {
    if (this.loading.value) return;
    this.loading.value = true;
    this.error.value = undefined;
    const began = ++this.#steps;
    try {
      const answer = await api.posts.listPosts({ pageSize: PAGE_SIZE, pageToken: this.#token, tag: this.tag });
      batch(() => {
        take(answer.posts.map((post) => this.#withLike(post, began)));
        this.#token = answer.nextPageToken;
        this.more.value = this.#token !== "";
        this.loaded.value = true;
      });
    } catch (error) {
      this.error.value = error;
    } finally {
      this.loading.value = false;
    }
  }

  #withLike(post: Post, began: number): Post {
    const like = this.#liked.get(post.postId);
    return like && like.at > began ? { ...post, ...like.now } : post;
  }

  #hear(event: FeedEvent): void {
    if (!this.loaded.value) return;
    if (event.case === "post") this.#arrive(event.value);
    else if (event.case === "gone") this.#drop(event.value.postId);
    else if (event.case === "gap") void this.#catchUp();
    else if (event.case === "exampleDelta") {
      const post = this.#find(event.value.postId);
      if (post) this.#replace(grown(post, event.value));
    }
  }

  #arrive(post: Post): void {
    const known = this.#find(post.postId);
    if (post.state !== PostState.PUBLISHED || (this.tag && !post.tags.includes(this.tag))) {
      if (known) this.#drop(post.postId);
    } else if (known) {
      // Whoever's tab reads the watch, `liked` is ours; text that has streamed further than the event stays.
      this.#replace({ ...renewed(known, post), liked: known.liked });
    } else if (this.#isNew(post)) {
      this.fresh.value = [post, ...this.fresh.value].slice(0, FRESH_AT_MOST);
    }
  }

  /** Newer than the newest that is shown: an old post can change too. */
  #isNew(post: Post): boolean {
    const newest = this.posts.value[0];
    return !newest?.publishTime || !post.publishTime || millis(post.publishTime) >= millis(newest.publishTime);
  }

  #drop(postId: string): void {
    batch(() => {
      this.posts.value = this.posts.value.filter((post) => post.postId !== postId);
      this.fresh.value = this.fresh.value.filter((post) => post.postId !== postId);
    });
  }

  async #catchUp(): Promise<void> {
    try {
      const { posts } = await api.posts.listPosts({ pageSize: PAGE_SIZE, tag: this.tag });
      for (const post of posts.toReversed()) this.#arrive(post);
    } catch {
      // The watch says that the connection is gone; after it has come back this is done again.
    }
  }
}

const stores = new Map<string, FeedStore>();

export function feedStore(tag: string): FeedStore {
  let store = stores.get(tag);
  if (!store) stores.set(tag, (store = new FeedStore(tag)));
  return store;
}
