/* The posts of one person, as one reader may see them. It outlives the page, so that going back finds the list as it was. */
import { PostState, PromptmeshError, type Author, type Post } from "@promptmesh/client";
import { batch, signal } from "@preact/signals";
import { grown, renewed } from "../../posts/growing";
import { listenToLikes, withLike } from "../../posts/likes";
import { api } from "../../state/api";
import { listenToFeed, type FeedEvent } from "../../state/feed";

const PAGE_SIZE = 20;

export class ProfileStore {
  /** Newest first. */
  readonly posts = signal<Post[]>([]);
  /** What everyone may know; undefined: not read yet, null: nothing of theirs is published. */
  readonly author = signal<Author | null | undefined>();
  readonly loaded = signal(false);
  readonly loading = signal(false);
  readonly more = signal(false);
  readonly error = signal<unknown>();
  #token = "";

  constructor(
    readonly authorId: string,
    /** Whether it is the reader's own. */
    readonly own: boolean,
  ) {}

  /** Listens until what it answers is called, and reads what there is: anew, for nobody has listened since. */
  open(): () => void {
    const noFeed = listenToFeed((event) => this.#hear(event));
    const noLikes = listenToLikes((like) => this.#change(like.postId, (post) => withLike(post, like)));
    void this.read();
    return () => {
      noFeed();
      noLikes();
    };
  }

  /** Reads the author and the first page. Further pages that are shown stay. */
  async read(): Promise<void> {
    if (this.loading.value) return;
    this.loading.value = true;
    this.error.value = undefined;
    try {
      const { authorId } = this;
      const [author, page] = await Promise.all([this.#author(), api.posts.listPosts({ authorId, pageSize: PAGE_SIZE })]);
      batch(() => {
        const oldest = page.posts.at(-1);
        // Ids are in the order of time: what is older than this page was read before, and is as good as it was.
        const older = oldest && page.nextPageToken ? this.posts.value.filter((post) => post.postId < oldest.postId) : [];
        this.author.value = author;
        this.posts.value = [...page.posts, ...older];
        if (!older.length) {
          this.#token = page.nextPageToken;
          this.more.value = this.#token !== "";
        }
        this.loaded.value = true;
      });
    } catch (error) {
      this.error.value = error;
    } finally {
      this.loading.value = false;
    }
  }

  async readMore(): Promise<void> {
    if (this.loading.value) return;
    this.loading.value = true;
    this.error.value = undefined;
    try {
      const page = await api.posts.listPosts({ authorId: this.authorId, pageSize: PAGE_SIZE, pageToken: this.#token });
      batch(() => {
        const known = new Set(this.posts.value.map((post) => post.postId));
        this.posts.value = [...this.posts.value, ...page.posts.filter((post) => !known.has(post.postId))];
        this.#token = page.nextPageToken;
        this.more.value = this.#token !== "";
      });
    } catch (error) {
      this.error.value = error;
    } finally {
      this.loading.value = false;
    }
  }

  /** The post after one's own like. */
  liked(post: Post): void {
    this.#change(post.postId, (known) => withLike(known, post));
  }

  async #author(): Promise<Author | null> {
    try {
      return await api.posts.getAuthor({ authorId: this.authorId });
    } catch (error) {
      if (error instanceof PromptmeshError && error.code === "NOT_FOUND") return null;
      throw error;
    }
  }

  #hear(event: FeedEvent): void {
    if (!this.loaded.value) return;
    if (event.case === "gap") void this.read();
    else if (event.case === "gone") this.#drop(event.value.postId);
    else if (event.case === "exampleDelta") this.#change(event.value.postId, (post) => grown(post, event.value));
    else if (event.case === "post" && event.value.authorId === this.authorId) this.#arrive(event.value);
  }

  #arrive(fresh: Post): void {
    const known = this.posts.value.find((post) => post.postId === fresh.postId);
    if (!this.own && fresh.state !== PostState.PUBLISHED) return;
    if (known) this.#change(fresh.postId, (post) => ({ ...renewed(post, fresh), liked: post.liked }));
    // One's own new post belongs on top; of others nothing moves while one reads.
    else if (this.own && !(this.more.value && fresh.postId < (this.posts.value.at(-1)?.postId ?? ""))) {
      this.posts.value = [fresh, ...this.posts.value].sort((one, other) => (one.postId < other.postId ? 1 : -1));
    }
    if (fresh.publishedRevision && !known?.publishedRevision) void this.#author().then((author) => (this.author.value = author), () => undefined);
  }

  #change(postId: string, change: (post: Post) => Post): void {
    if (!this.posts.value.some((post) => post.postId === postId)) return;
    this.posts.value = this.posts.value.map((post) => (post.postId === postId ? change(post) : post));
  }

  #drop(postId: string): void {
    this.posts.value = this.posts.value.filter((post) => post.postId !== postId);
  }
}

let store: ProfileStore | undefined;
let reader = "";

/** The last profile that was looked at is kept, for who looked at it. */
export function profileStore(authorId: string, of: string): ProfileStore {
  if (store?.authorId !== authorId || reader !== of) store = new ProfileStore(authorId, authorId === of);
  reader = of;
  return store;
}
