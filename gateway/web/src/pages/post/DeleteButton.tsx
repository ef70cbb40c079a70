import type { Post } from "@promptmesh/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { ErrorNote } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { isMissing } from "../../posts/live";
import { navigate } from "../../router/router";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { call } from "../../state/session";
import { toast } from "../../state/toasts";
import css from "./post.module.css";

/** Asks first: what is deleted is gone for everyone, at once. */
export function DeleteButton({ post }: { post: Post }) {
  const [asking, ask] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const close = () => {
    setError(undefined);
    ask(false);
  };
  const run = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await call(() => api.posts.deletePost({ postId: post.postId }));
    } catch (failed) {
      // Gone already: another tab was faster, or the answer of a first try was lost.
      if (!isMissing(failed)) {
        if (!isAbort(failed)) setError(failed);
        setBusy(false);
        return;
      }
    }
    navigate(to.person(post.authorId), { replace: true });
    toast("The post was deleted.");
  };
  return (
    <>
      <Button size="s" kind="danger" icon="trash" onClick={() => ask(true)}>
        Delete
      </Button>
      {asking && (
        <Dialog
          title="Delete this post?"
          onClose={close}
          actions={
            <>
              <Button onClick={close}>Keep it</Button>
              <Button kind="danger" busy={busy} onClick={() => void run()}>
                Delete
              </Button>
            </>
          }
        >
          <p class={css["asked"]}>“{post.title}”, its example and its likes are gone for everyone, at once. This cannot be taken back.</p>
          {error !== undefined && <ErrorNote error={error} />}
        </Dialog>
      )}
    </>
  );
}
