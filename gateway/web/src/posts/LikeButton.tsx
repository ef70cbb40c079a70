import { PostState, type Post } from "@promptmesh/client";
import { useRef, useState } from "preact/hooks";
import { count, counted } from "../components/amounts";
import { classes } from "../components/classes";
import { Icon } from "../components/Icon";
import { isAbort, problemOf } from "../components/problems";
import { api } from "../state/api";
import { call } from "../state/session";
import { toast } from "../state/toasts";
import { announceLike } from "./likes";
import css from "./posts.module.css";

/** Likes at once and takes it back if the server refuses. Asks to log in where nobody is. */
export function LikeButton({ post, onChange }: { post: Post; onChange: (post: Post) => void }) {
  const [busy, setBusy] = useState(false);
  // While the answer is awaited the post may change: its example grows.
  const latest = useRef(post);
  latest.current = post;
  if (post.state !== PostState.PUBLISHED && !post.publishedRevision) return null;

  const press = async () => {
    if (busy) return;
    setBusy(true);
    const liked = !post.liked;
    const { postId, likeCount: before } = post;
    const show = (change: Partial<Post>) => onChange({ ...latest.current, ...change });
    show({ liked, likeCount: before + (liked ? 1n : -1n) });
    try {
      const { likeCount } = await call(() => (liked ? api.posts.likePost({ postId }) : api.posts.unlikePost({ postId })));
      show({ liked, likeCount });
      announceLike({ postId, liked, likeCount });
    } catch (error) {
      show({ liked: !liked, likeCount: before });
      if (!isAbort(error)) toast(problemOf(error).text, { kind: "problem" });
    } finally {
      setBusy(false);
    }
  };

  const likes = count(post.likeCount);
  return (
    <button
      type="button"
      class={classes(css["like"], post.liked && css["liked"])}
      aria-pressed={post.liked}
      aria-label={`Like “${post.title}”, ${counted(post.likeCount, "like")}`}
      onClick={() => void press()}
    >
      <Icon name="heart" filled={post.liked} />
      <span class="numbers">{likes}</span>
    </button>
  );
}
