/* One's own likes, as every page and tab that shows the post must know them: the mesh sends no events of likes. */
import type { Post } from "@promptmesh/client";
import { user } from "../state/session";

export interface Like {
  postId: string;
  /** Who likes it. */
  reader: string;
  liked: boolean;
  likeCount: bigint;
}

const tabs = new BroadcastChannel("promptmesh-likes");
const listeners = new Set<(like: Like) => void>();
tabs.onmessage = ({ data }: MessageEvent<Like>) => tell(data);

const tell = (like: Like): void => {
  if (like.reader === user.value?.userId) for (const listener of listeners) listener(like);
};

/** Tells of a like that the server has taken. */
export function announceLike({ postId, liked, likeCount }: Pick<Post, "postId" | "liked" | "likeCount">): void {
  const like = { postId, liked, likeCount, reader: user.value?.userId ?? "" };
  tabs.postMessage(like);
  tell(like);
}

/** Hears of likes of whoever is logged in; answers what ends that. */
export function listenToLikes(listener: (like: Like) => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** The post, liked so. */
export const withLike = (post: Post, { liked, likeCount }: Pick<Like, "liked" | "likeCount">): Post => ({ ...post, liked, likeCount });
