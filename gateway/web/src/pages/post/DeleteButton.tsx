import type { Post } from "@promptmesh/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { isMissing } from "../../posts/live";
import { navigate } from "../../router/router";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { toast } from "../../state/toasts";
import css from "./post.module.css";

/** Asks first: what is deleted is gone for everyone, at once. */
export function DeleteButton({ post }: { post: Post }) {
  const [asking, ask] = useState(false);
  const run = async () => {
    try {
      await api.posts.deletePost({ postId: post.postId });
    } catch (error) {
      // Gone already: another tab was faster, or the answer of a first try was lost.
      if (!isMissing(error)) throw error;
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
        <Confirm title="Delete this post?" action="Delete" onClose={() => ask(false)} run={run}>
          <p class={css["asked"]}>“{post.title}”, its example and its likes are gone for everyone, at once. This cannot be taken back.</p>
        </Confirm>
      )}
    </>
  );
}
