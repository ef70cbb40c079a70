/* A person: what they have published, and for oneself everything that one has written, with where it stands. */
import { PostState, PromptmeshError, type Author, type Post } from "@promptmesh/client";
import { useEffect } from "preact/hooks";
import { counted } from "../../components/amounts";
import { Button, LinkButton } from "../../components/Button";
import { Page } from "../../components/Page";
import { Avatar, Card, EmptyState, ErrorNote, Skeleton } from "../../components/Pieces";
import { Tabs } from "../../components/Tabs";
import { millis } from "../../components/Time";
import { PostCard } from "../../posts/PostCard";
import { query, setQuery } from "../../router/router";
import { to, type PageProps } from "../../router/routes";
import { user, who } from "../../state/session";
import { profileStore, type ProfileStore } from "./store";
import css from "./profile.module.css";

type Filter = "all" | "published" | "waiting" | "rejected";

const FILTERS: Record<Filter, { label: string; none: string; shows: (post: Post) => boolean }> = {
  all: { label: "All", none: "You have written nothing yet", shows: () => true },
  published: { label: "Published", none: "Nothing of yours is published", shows: (post) => post.publishedRevision > 0 },
  waiting: {
    label: "In review",
    none: "Nothing of yours waits for a verdict",
    shows: ({ state }) => state === PostState.PENDING || state === PostState.HELD,
  },
  rejected: { label: "Rejected", none: "Nothing of yours is rejected", shows: ({ state }) => state === PostState.REJECTED },
};

const month = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });

export default function Profile({ params }: PageProps) {
  if (who.value.state === "restoring") return <Waiting />;
  return <Of store={profileStore(params["id"]!.toLowerCase(), user.value?.userId ?? "")} />;
}

function Of({ store }: { store: ProfileStore }) {
  useEffect(() => store.open(), [store]);
  const error = store.error.value;
  const author = store.author.value;
  const name = (store.own ? user.value?.displayName : undefined) ?? author?.authorName ?? "";
  if (!store.loaded.value) {
    if (error === undefined) return <Waiting />;
    // What is no id at all is nobody's.
    if (error instanceof PromptmeshError && error.code === "INVALID_ARGUMENT") return <Nobody />;
    return (
      <Page title="Profile">
        <ErrorNote title="The profile could not be read" error={error} retry={() => void store.read()} />
      </Page>
    );
  }
  if (!name) return <Nobody />;
  return (
    <Page title={name} lead={<Counts author={author} />} actions={<Avatar name={name} size="l" />}>
      {store.own ? <OwnPosts store={store} /> : <Posts store={store} posts={store.posts.value} />}
    </Page>
  );
}

const Nobody = () => (
  <Page title="Profile">
    <EmptyState title="Nothing is published here" action={<LinkButton href={to.feed()}>To the feed</LinkButton>}>
      There is no such person, or they have published nothing yet.
    </EmptyState>
  </Page>
);

const Waiting = () => (
  <Page title="Profile" heading={false}>
    <Skeleton lines={2} label="Loading the profile" />
    {[4, 3].map((lines) => (
      <Card key={lines}>
        <Skeleton lines={lines} label="Loading posts" />
      </Card>
    ))}
  </Page>
);

function Counts({ author }: { author: Author | null | undefined }) {
  if (!author) return <>Nothing published yet</>;
  const { publishedCount, likeCount, more, firstPublishTime } = author;
  const over = more ? "more than " : "";
  return (
    <span class="numbers">
      {over}
      {counted(publishedCount, "post")} published · {over}
      {counted(likeCount, "like")}
      {firstPublishTime && ` · since ${month.format(millis(firstPublishTime))}`}
    </span>
  );
}

function OwnPosts({ store }: { store: ProfileStore }) {
  const asked = query.value.get("show") ?? "";
  const filter: Filter = asked in FILTERS ? (asked as Filter) : "all";
  const { none, shows } = FILTERS[filter];
  return (
    <Tabs
      label="Which posts"
      tabs={(Object.keys(FILTERS) as Filter[]).map((key) => ({ key, label: FILTERS[key].label }))}
      chosen={filter}
      onChoose={(key) => setQuery({ show: key === "all" ? undefined : key })}
    >
      <Posts store={store} posts={store.posts.value.filter(shows)} none={none} />
    </Tabs>
  );
}

function Posts({ store, posts, none = "No posts" }: { store: ProfileStore; posts: Post[]; none?: string }) {
  const error = store.error.value;
  const more = store.more.value;
  return (
    <div class="stack">
      {!posts.length && (
        <EmptyState
          title={more ? `${none}, among the newest ${store.posts.value.length}` : none}
          action={
            !more && (
              <LinkButton icon="pen" href={to.write()}>
                Write a post
              </LinkButton>
            )
          }
        />
      )}
      {posts.length > 0 && (
        <ol class="stack" aria-label="Posts">
          {posts.map((post) => (
            <li key={post.postId}>
              <PostCard post={post} onChange={(next) => store.liked(next)} />
            </li>
          ))}
        </ol>
      )}
      {error !== undefined && <ErrorNote error={error} retry={() => void (more ? store.readMore() : store.read())} />}
      {more && (
        <div class={css["more"]}>
          <Button busy={store.loading.value} onClick={() => void store.readMore()}>
            Show older posts
          </Button>
        </div>
      )}
    </div>
  );
}
