/* How a post that is shown takes in what comes of it: the post as it is now, and more of its example's text. */
import { applyExampleDelta, create, ExampleSchema, ExampleState, type ExampleDelta, type Post } from "@promptmesh/client";

/** The post after a piece of its example; another revision's piece changes nothing. */
export function grown(post: Post, delta: ExampleDelta): Post {
  if (post.publishedRevision !== delta.revision) return post;
  const example = post.example ?? create(ExampleSchema, { state: ExampleState.WRITING });
  return { ...post, example: { ...example, text: applyExampleDelta(example.text, delta) } };
}

/** The post as it came, with the text that has been shown already: while an example is written its post comes without. */
export function renewed(known: Post | undefined, fresh: Post): Post {
  const shown = known?.example;
  if (!shown || known.publishedRevision !== fresh.publishedRevision || !isWriting(fresh)) return fresh;
  return shown.text.length > (fresh.example?.text.length ?? 0) ? { ...fresh, example: shown } : fresh;
}

export const isWriting = (post: Post): boolean =>
  post.publishedRevision > 0 && (!post.example || post.example.state <= ExampleState.WRITING);
