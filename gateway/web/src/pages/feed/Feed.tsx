/* The feed, whole or by tag. New posts are announced by a button: nothing moves while somebody reads. */
import { useEffect } from "preact/hooks";
import { counted } from "../../components/amounts";
import { Button, LinkButton } from "../../components/Button";
import { Page } from "../../components/Page";
import { Card, EmptyState, ErrorNote, Skeleton } from "../../components/Pieces";
import { PostCard } from "../../posts/PostCard";
import { to, type PageProps } from "../../router/routes";
import { user, who } from "../../state/session";
import { feedStore, type FeedStore } from "./store";
import css from "./feed.module.css";

export default function Feed({ params }: PageProps) {
  const tag = params["tag"] ?? "";
  const store = feedStore(tag);
  const reader = user.value?.userId;
  const restoring = who.value.state === "restoring";
  useEffect(() => {
    if (!restoring) void store.open(reader);
  }, [store, reader, restoring]);
  return (
    <Page
      title={tag ? `#${tag}` : "Feed"}
      lead={tag ? <a href={to.feed()}>All posts</a> : "Prompts that people have published, each with a real example."}
    >
      <Fresh store={store} />
      <List store={store} />
    </Page>
  );
}

function Fresh({ store }: { store: FeedStore }) {
  const count = store.fresh.value.length;
  const show = () => {
    store.showFresh();
    scrollTo({ top: 0 });
    requestAnimationFrame(() => document.querySelector<HTMLElement>("#main article a")?.focus({ preventScroll: true }));
  };
  return (
    <div class={css["fresh"]} role="status">
      {count > 0 && (
        <Button kind="primary" size="s" icon="arrowUp" onClick={show}>
          {counted(count, "new post")}
        </Button>
      )}
    </div>
  );
}

function List({ store }: { store: FeedStore }) {
  const posts = store.posts.value;
  const error = store.error.value;
  if (!store.loaded.value) {
    if (error !== undefined) {
      return <ErrorNote title="The feed could not be read" error={error} retry={() => void store.reload()} />;
    }
    return (
      <div class="stack">
        {[4, 3, 4].map((lines, index) => (
          <Card key={index}>
            <Skeleton lines={lines} label="Loading posts" />
          </Card>
        ))}
      </div>
    );
  }
  if (!posts.length && !store.fresh.value.length) {
    return (
      <EmptyState
        title={store.tag ? `No post is tagged #${store.tag} yet` : "Nothing is published yet"}
        action={
          <LinkButton kind="primary" icon="pen" href={to.write()}>
            Write the first post
          </LinkButton>
        }
      >
        Posts appear here by themselves once they have been checked.
      </EmptyState>
    );
  }
  return (
    <>
      <ol class="stack" aria-label="Posts">
        {posts.map((post) => (
          <li key={post.postId}>
            <PostCard post={post} onChange={(next) => store.change(next)} />
          </li>
        ))}
      </ol>
      {error !== undefined && <ErrorNote error={error} retry={() => void store.loadMore()} />}
      {store.more.value ? (
        <div class={css["more"]}>
          <Button busy={store.loading.value} onClick={() => void store.loadMore()}>
            Show older posts
          </Button>
        </div>
      ) : (
        posts.length > 5 && <p class={css["end"]}>That is all.</p>
      )}
    </>
  );
}
