/* What an author writes, and the rules of it that can be told before it is sent; the mesh decides. */
import { counted } from "../components/amounts";
import type { Errors } from "../components/form";

// CreatePostRequest and Post in promptmesh/prompts/v1/posts.proto, in characters (Unicode code points).
export const TITLE_MAX = 200;
export const BODY_MAX = 20_000;
export const TAGS_MAX = 10;
export const TAG_MAX = 32;

export interface Content {
  title: string;
  body: string;
  tags: string[];
}

/** A form's values: `tag` is what is typed and no tag yet. */
export interface PostValues extends Content, Record<string, string | string[]> {
  tag: string;
}

const VISIBLE = /[^\s\p{Cc}\p{Cf}]/u;
const TAG = /^[a-z0-9]+(-[a-z0-9]+)*$/;

export const characters = (text: string): number => [...text].length;

export const valuesOf = ({ title, body, tags }: Content): PostValues => ({ title, body, tags: [...tags], tag: "" });

/** What is to be sent: with the tag that was typed last. */
export const contentOf = ({ title, body, tags, tag }: PostValues): Content => ({
  title: title.trim(),
  body,
  tags: tag.trim() ? [...tags, ...tagsIn(tag)] : [...tags],
});

export const sameContent = (one: Content, other: Content): boolean => changedFields(one, other).length === 0;

export function changedFields(before: Content, after: Content): (keyof Content)[] {
  const fields: (keyof Content)[] = ["title", "body", "tags"];
  return fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
}

/** Tags as they were meant: separated by commas, lower case, hyphens within. */
export const tagsIn = (text: string): string[] =>
  text
    .split(/[,\n]/)
    .map((tag) => tag.trim().replace(/^#+/, "").toLowerCase().replace(/[\s_]+/g, "-"))
    .filter(Boolean);

/** Why these cannot be added to those, if so. */
export function tagsProblem(adding: string[], tags: string[]): string | undefined {
  for (const tag of adding) {
    if (tag.length > TAG_MAX) return `A tag has at most ${TAG_MAX} characters; this one has ${tag.length}.`;
    if (!TAG.test(tag)) return `“${tag}” cannot be a tag: use letters a to z, digits and inner hyphens, such as short-story.`;
    if (tags.includes(tag)) return `“${tag}” is there already.`;
  }
  if (tags.length + adding.length > TAGS_MAX) return `At most ${TAGS_MAX} tags; remove one first.`;
  return undefined;
}

export function check(values: PostValues): Errors<PostValues> {
  const errors: Errors<PostValues> = {};
  if (!VISIBLE.test(values.title)) errors["title"] = "Give it a title.";
  else if (characters(values.title.trim()) > TITLE_MAX) errors["title"] = tooLong(values.title.trim(), TITLE_MAX);
  if (!VISIBLE.test(values.body)) errors["body"] = "Write the prompt.";
  else if (characters(values.body) > BODY_MAX) errors["body"] = tooLong(values.body, BODY_MAX);
  const tags = tagsProblem(tagsIn(values.tag), values.tags);
  if (tags) errors["tags"] = tags;
  return errors;
}

export const tooLong = (text: string, max: number): string => `Too long by ${counted(characters(text) - max, "character")}.`;
