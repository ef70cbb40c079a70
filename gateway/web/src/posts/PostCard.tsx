/* A post in a list: who, when, what, and the beginning of its example. The title leads to its page. */
import { ExampleState, PostState, type Post } from "@promptmesh/client";
import { plainText } from "../components/markdown";
import { Avatar, Card, Tag } from "../components/Pieces";
import { Time } from "../components/Time";
import { to } from "../router/routes";
import { LikeButton } from "./LikeButton";
import { StateBadge } from "./StateBadge";
import css from "./posts.module.css";

const EXCERPT_CHARACTERS = 600; // more than the lines shown can hold

const excerpt = (text: string): string => plainText(text.slice(0, EXCERPT_CHARACTERS));

export interface PostCardProps {
  post: Post;
  /** The post after one's own like. */
  onChange: (post: Post) => void;
}

export function PostCard({ post, onChange }: PostCardProps) {
  const { example } = post;
  return (
    <Card>
      <article class={css["card"]} data-anchor={post.postId} aria-labelledby={`title-${post.postId}`}>
        <div class={css["by"]}>
          <Avatar name={post.authorName} size="s" />
          <a class={css["author"]} href={to.person(post.authorId)}>
            {post.authorName}
          </a>
          <span class="faint small">
            <Time at={post.publishTime ?? post.createTime} />
          </span>
          {post.state !== PostState.PUBLISHED && <StateBadge state={post.state} />}
        </div>
        <h2 class={css["title"]} id={`title-${post.postId}`}>
          <a href={to.post(post.postId)}>{post.title}</a>
        </h2>
        <p class={css["excerpt"]}>{excerpt(post.body)}</p>
        {example && (example.text || example.state === ExampleState.WRITING) && (
          <div class={css["example"]}>
            <span class={css["example-label"]}>
              {example.state === ExampleState.WRITING ? "Example, being written" : "Example"}
              {example.model && <span class="faint"> · {example.model}</span>}
            </span>
            <p class={css["excerpt"]} aria-busy={example.state === ExampleState.WRITING}>
              {excerpt(example.text) || "…"}
            </p>
          </div>
        )}
        <div class="row spread">
          <ul class={css["tags"]} aria-label="Tags">
            {post.tags.map((tag) => (
              <li key={tag}>
                <Tag name={tag} />
              </li>
            ))}
          </ul>
          <LikeButton post={post} onChange={onChange} />
        </div>
      </article>
    </Card>
  );
}
