/* A post: what it says, where it stands, and its example, as it comes. */
import { PostState, type Post as PostMessage } from "@promptmesh/client";
import { useEffect, useMemo } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { CopyButton } from "../../components/CopyButton";
import { Page } from "../../components/Page";
import { Avatar, Card, EmptyState, ErrorNote, Note, Skeleton, Tag } from "../../components/Pieces";
import { Prose } from "../../components/Prose";
import { Time } from "../../components/Time";
import { LikeButton } from "../../posts/LikeButton";
import { isMissing, livePost, type LivePost } from "../../posts/live";
import { StateBadge } from "../../posts/StateBadge";
import { place } from "../../router/router";
import { to, type PageProps } from "../../router/routes";
import { askToLogIn, isModerator, user, who } from "../../state/session";
import { DeleteButton } from "./DeleteButton";
import { ExampleOf } from "./ExampleOf";
import { ShareButtons } from "./ShareButtons";
import { Standing } from "./Standing";
import css from "./post.module.css";

export default function Post({ params }: PageProps) {
  if (who.value.state === "restoring") return <Waiting />;
  return <Followed live={livePost(params["id"]!.toLowerCase(), user.value?.userId ?? "")} />;
}

function Followed({ live }: { live: LivePost }) {
  // With the session ended the mesh would show what a stranger sees; what stands here stays until one is back.
  const expired = who.value.state === "expired";
  useEffect(() => (expired ? undefined : live.open()), [live, expired]);
  const post = live.post.value;
  if (live.gone.value) return <Missing title="This post is no longer here" />;
  if (post) return <Shown live={live} post={post} />;
  const error = live.error.value;
  if (error === undefined) return <Waiting />;
  if (isMissing(error)) return <Missing title="There is no such post" />;
  return (
    <Page title="Post">
      <ErrorNote title="The post could not be read" error={error} retry={() => live.retry()} />
    </Page>
  );
}

const Waiting = () => (
  <Page title="Post" heading={false}>
    <Card>
      <Skeleton lines={6} label="Loading the post" />
    </Card>
  </Page>
);

const Missing = ({ title }: { title: string }) => (
  <Page title="Not found">
    <EmptyState
      title={title}
      action={
        <div class="row">
          <LinkButton href={to.feed()}>To the feed</LinkButton>
          {!user.value && <LinkButton href={to.logIn(place.value.path)}>Log in</LinkButton>}
        </div>
      }
    >
      It may have been deleted, or is not published{user.value ? "." : "; its author sees it when they are logged in."}
    </EmptyState>
  </Page>
);

function Shown({ live, post }: { live: LivePost; post: PostMessage }) {
  const own = post.authorId === user.value?.userId;
  const overseen = own || isModerator.value;
  // Not made anew with each piece of the example.
  const prompt = useMemo(() => <Prose text={post.body} />, [post.body]);
  return (
    <Page
      title={post.title}
      lead={
        <span class={css["by"]}>
          <Avatar name={post.authorName} size="s" />
          <a class={css["author"]} href={to.person(post.authorId)}>
            <bdi>{post.authorName}</bdi>
          </a>
          <span class="faint small">
            <Time at={post.publishTime ?? post.createTime} />
            {post.revision > 1 && (
              <>
                {" · revision "}
                {post.revision}
                {", "}
                <Time at={post.updateTime} />
              </>
            )}
          </span>
          {/* Every other state is told below, with what it means. */}
          {overseen && post.state === PostState.PUBLISHED && <StateBadge state={post.state} />}
        </span>
      }
      actions={
        own && (
          <>
            <LinkButton size="s" icon="pen" href={to.edit(post.postId)}>
              Edit
            </LinkButton>
            <DeleteButton post={post} />
          </>
        )
      }
    >
      {who.value.state === "expired" && (
        <Note tone="warn" title="Your session has ended">
          <p>What stands here is as it was then.</p>
          <Button size="s" onClick={() => askToLogIn("Log in again to go on where you were.").catch(() => undefined)}>
            Log in again
          </Button>
        </Note>
      )}
      {overseen && <Standing post={post} own={own} />}
      <section class="stack" aria-label="Prompt">
        <Card>
          <div class="stack">
            <div class={css["prompt"]}>{prompt}</div>
            {post.tags.length > 0 && (
              <ul class={css["tags"]} aria-label="Tags">
                {post.tags.map((tag) => (
                  <li key={tag}>
                    <Tag name={tag} />
                  </li>
                ))}
              </ul>
            )}
            <div class={css["doing"]}>
              <LinkButton kind="primary" size="s" icon="play" href={to.playground(post.postId)}>
                Try in the playground
              </LinkButton>
              <CopyButton text={post.body} label="Copy prompt" />
              {post.publishedRevision > 0 && <ShareButtons post={post} />}
              <LikeButton post={post} onChange={(next) => live.like(next)} />
            </div>
          </div>
        </Card>
      </section>
      {(post.publishedRevision > 0 || post.state === PostState.PUBLISHED) && <ExampleOf post={post} />}
    </Page>
  );
}
