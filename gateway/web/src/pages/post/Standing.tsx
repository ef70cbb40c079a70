/* Where a revision stands, for its author and for moderators: what happens, why, and what can be done about it. */
import { PostState, type Post } from "@promptmesh/client";
import { useEffect, useState } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { Card, ErrorNote, Note, Progress, Skeleton } from "../../components/Pieces";
import { Prose } from "../../components/Prose";
import { everyone } from "../../posts/everyone";
import { isWriting } from "../../posts/growing";
import { Reasons } from "../../posts/Reasons";
import { to } from "../../router/routes";
import css from "./post.module.css";

export function Standing({ post, own }: { post: Post; own: boolean }) {
  return (
    <>
      <p class="visually-hidden" role="status">
        {said(post)}
      </p>
      {post.state === PostState.PENDING && <Progress label="Being checked. It is published by itself, mostly within seconds." />}
      {post.state === PostState.HELD && (
        <Note tone="warn" title="Held for a moderator">
          <div class={css["said"]}>
            <Reasons reasons={post.reasons} />
            {own ? (
              <p>A moderator decides; you need not wait here. If you change it, it is checked anew.</p>
            ) : (
              <p>Nobody but its author and moderators sees it.</p>
            )}
            <Doing post={post} own={own} label="Change it" />
          </div>
        </Note>
      )}
      {post.state === PostState.REJECTED && (
        <Note tone="bad" title="Rejected">
          <div class={css["said"]}>
            <Reasons reasons={post.reasons} />
            {own ? <p>Change what is named and send it again; it is checked anew.</p> : <p>Nobody but its author and moderators sees it.</p>}
            <Doing post={post} own={own} label="Change it and send it again" />
          </div>
        </Note>
      )}
      {post.publishedRevision > 0 && post.publishedRevision !== post.revision && <Meanwhile key={post.publishedRevision} post={post} />}
    </>
  );
}

/** For a screen reader, once at each step. */
function said({ state, ...post }: Post): string {
  if (state === PostState.PENDING) return "Being checked.";
  if (state === PostState.HELD) return "Held for a moderator.";
  if (state === PostState.REJECTED) return "Rejected.";
  return isWriting({ state, ...post }) ? "Published. The example is being written." : "Published.";
}

function Doing({ post, own, label }: { post: Post; own: boolean; label: string }) {
  return own ? (
    <LinkButton size="s" icon="pen" href={to.edit(post.postId)}>
      {label}
    </LinkButton>
  ) : (
    <LinkButton size="s" href={to.moderation()}>
      To the moderation queue
    </LinkButton>
  );
}

/** A later revision is not published: what everyone sees meanwhile. */
function Meanwhile({ post }: { post: Post }) {
  const [open, setOpen] = useState(false);
  const [published, setPublished] = useState<Post>();
  const [error, setError] = useState<unknown>();
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (!open) return;
    const over = new AbortController();
    setError(undefined);
    everyone.posts.getPost({ postId: post.postId }, { signal: over.signal }).then(setPublished, (failed: unknown) => {
      if (!over.signal.aborted) setError(failed);
    });
    return () => over.abort();
  }, [open, tries, post.postId]);
  return (
    <div class="stack">
      <div class="row">
        <p>
          This is revision {post.revision}. Everyone else still sees revision {post.publishedRevision}.
        </p>
        <Button size="s" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Hide what others see" : "Show what others see"}
        </Button>
      </div>
      {open && (
        <section class={css["published"]} aria-label={`Revision ${post.publishedRevision}, as others see it`}>
          <Card quiet>
            {published ? (
              <div class="stack">
                <p class="faint small">Revision {published.revision}, as others see it</p>
                <h2>{published.title}</h2>
                <Prose text={published.body} />
                {published.tags.length > 0 && <p class="soft small">{published.tags.map((tag) => `#${tag}`).join(" ")}</p>}
              </div>
            ) : error === undefined ? (
              <Skeleton lines={3} label="Loading the published revision" />
            ) : (
              <ErrorNote error={error} retry={() => setTries(tries + 1)} />
            )}
          </Card>
        </section>
      )}
    </div>
  );
}
