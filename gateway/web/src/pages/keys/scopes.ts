/* What an API key can be allowed, in the words of who gives it away. Names: CreateApiKeyRequest.scopes. */

export interface Scope {
  name: string;
  label: string;
  /** What whoever holds the key can do. */
  allows: string;
  /** Chosen at first: what nearly every program needs, and nothing that publishes. */
  usual: boolean;
}

export const SCOPES: Scope[] = [
  { name: "inference:invoke", label: "Use models", allows: "Calls models, through OpenAI’s API too. This is what costs money.", usual: true },
  { name: "posts:read", label: "Read posts", allows: "Reads the feed, and your own posts before they are published.", usual: false },
  { name: "posts:write", label: "Write posts", allows: "Publishes, edits, deletes and likes in your name.", usual: false },
  { name: "usage:read", label: "Read usage", allows: "Sees what your calls took and cost, each with its receipt.", usual: false },
  { name: "moderation:screen", label: "Screen texts", allows: "Has texts checked by the moderation rules; publishes nothing.", usual: false },
];

/** A scope that this app does not know yet is shown by its name. */
export const scopeLabel = (name: string): string => SCOPES.find((scope) => scope.name === name)?.label ?? name;
