/* Changes a post. It is sent with the etag of what one began with; who changed it meanwhile is not overwritten unseen. */
import { newRequestId, PromptmeshError, type Post } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { Form, SubmitButton, useForm, useUnsaved } from "../../components/form";
import { Page } from "../../components/Page";
import { EmptyState, ErrorNote, Note, Skeleton } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { changedFields, check, contentOf, sameContent, valuesOf, type Content, type PostValues } from "../../posts/content";
import { DraftNote } from "../../posts/DraftNote";
import { isMissing, livePost } from "../../posts/live";
import { PostFields } from "../../posts/PostFields";
import { navigate } from "../../router/router";
import { to, type PageProps } from "../../router/routes";
import { api } from "../../state/api";
import { dropDraft, keepDraft, readDraft } from "../../state/drafts";
import { call, user } from "../../state/session";
import { toast } from "../../state/toasts";
import { Conflict } from "./Conflict";

const SENT_AT_MOST = 3; // the state of a post changes its etag too, twice or so while it is checked

export default function Edit({ params }: PageProps) {
  const postId = params["id"]!;
  const [post, setPost] = useState<Post>();
  const [error, setError] = useState<unknown>();
  const [tries, setTries] = useState(0);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const over = new AbortController();
    setError(undefined);
    call(() => api.posts.getPost({ postId }, { signal: over.signal })).then(setPost, (failed: unknown) => {
      if (!over.signal.aborted && !isAbort(failed)) setError(failed);
    });
    return () => over.abort();
  }, [postId, tries]);

  const restart = (saved: Post) => {
    setPost(saved);
    setRound(round + 1);
  };
  if (post && post.authorId === user.value?.userId) return <EditPost key={round} post={post} restart={restart} />;
  return (
    <Page title="Edit a post">
      {post ? (
        <EmptyState title="Only its author can edit a post" action={<LinkButton href={to.post(postId)}>To the post</LinkButton>}>
          You are logged in as somebody else.
        </EmptyState>
      ) : isMissing(error) ? (
        <EmptyState title="There is no such post" action={<LinkButton href={to.feed()}>To the feed</LinkButton>}>
          It may have been deleted.
        </EmptyState>
      ) : error !== undefined ? (
        <ErrorNote title="The post could not be read" error={error} retry={() => setTries(tries + 1)} />
      ) : (
        <Skeleton lines={6} label="Loading the post" />
      )}
    </Page>
  );
}

/** What one began to edit. */
interface Base extends Content {
  etag: string;
}

const baseOf = ({ title, body, tags, etag }: Post): Base => ({ title, body, tags: [...tags], etag });

function EditPost({ post, restart }: { post: Post; restart: (saved: Post) => void }) {
  const { postId } = post;
  const name = `edit-${postId}`;
  const kept = useRef(readDraft(name) === undefined ? undefined : readDraft<Base>(`${name}-base`));
  const base = useRef(kept.current ?? baseOf(post));
  /** What is saved, as far as one has been shown it. */
  const seen = useRef<Base>({ ...base.current });
  const [conflict, setConflict] = useState<Post | undefined>(() => (sameContent(base.current, post) ? undefined : post));
  const [missing, setMissing] = useState(false);
  const anew = useRef<string | undefined>(undefined);

  const form = useForm<PostValues>({
    name,
    initial: valuesOf(base.current),
    check,
    submit: async (values) => {
      const content = contentOf(values);
      const paths = changedFields(base.current, content);
      let target = postId;
      if (anew.current) {
        target = (await api.posts.createPost({ ...content, requestId: anew.current })).postId;
      } else if (paths.length) {
        livePost(postId, post.authorId).take(await send(content, paths));
      } else toast("Nothing was changed.");
      dropDraft(`${name}-base`);
      navigate(to.post(target), { replace: true });
    },
  });

  const send = async (content: Content, paths: string[]): Promise<Post> => {
    for (let sent = 1; ; sent++) {
      try {
        return await api.posts.updatePost({ post: { postId, ...content, etag: seen.current.etag }, updateMask: { paths } });
      } catch (error) {
        if (isMissing(error)) setMissing(true);
        if (!(error instanceof PromptmeshError) || error.reason !== "ETAG_MISMATCH" || sent === SENT_AT_MOST) throw error;
        const fresh = await api.posts.getPost({ postId });
        // An answer that was lost on its way: it is saved already.
        if (sameContent(fresh, content)) return fresh;
        if (!sameContent(fresh, seen.current)) {
          setConflict(fresh);
          throw new DOMException("The post was changed meanwhile.", "AbortError");
        }
        // A verdict that came meanwhile changed the etag, and nothing that could be overwritten.
        seen.current.etag = fresh.etag;
      }
    }
  };

  useUnsaved(form.changed);
  useEffect(() => {
    if (form.changed) keepDraft(`${name}-base`, base.current);
  }, [form.changed, form.values]);

  const saveMine = () => {
    if (!conflict) return;
    seen.current = baseOf(conflict);
    setConflict(undefined);
    void form.submit();
  };
  const takeSaved = () => {
    if (!conflict) return;
    dropDraft(name);
    dropDraft(`${name}-base`);
    restart(conflict);
  };
  const makeNew = () => {
    anew.current ??= newRequestId();
    void form.submit();
  };

  return (
    <Page
      title="Edit a post"
      lead={
        post.publishedRevision > 0
          ? "The new revision is checked first. Until then everyone sees the one that is published."
          : "The new revision is checked like a new post."
      }
    >
      <DraftNote form={form} />
      {conflict && <Conflict saved={conflict} base={base.current} mine={contentOf(form.values)} onSaveMine={saveMine} onTakeSaved={takeSaved} />}
      {missing && (
        <Note tone="warn" title="This post has been deleted">
          <p>What you typed is still here.</p>
          <Button size="s" busy={form.busy} onClick={makeNew}>
            Publish it as a new post
          </Button>
        </Note>
      )}
      <Form form={form} label="Edit a post">
        <PostFields form={form} />
        <div class="row">
          <SubmitButton form={form}>Save and send for checking</SubmitButton>
          <LinkButton kind="quiet" href={to.post(postId)}>
            Back to the post
          </LinkButton>
        </div>
      </Form>
    </Page>
  );
}

