/* What somebody has typed and not sent, kept for this tab: a reload, an ended session or a crash loses none of it. */

const PREFIX = "promptmesh.draft.";
const OWNER = "promptmesh.drafts-of";

/** The kept values of a form, or undefined. */
export function readDraft<T>(name: string): T | undefined {
  try {
    const text = sessionStorage.getItem(PREFIX + name);
    return text === null ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined;
  }
}

export function keepDraft(name: string, values: unknown): void {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(values));
  } catch {
    // Full or forbidden: the form still works, it only does not survive a reload.
  }
}

export function dropDraft(name: string): void {
  sessionStorage.removeItem(PREFIX + name);
}

/** Says who uses the tab: drafts of whoever used it before, and did not log out, are dropped. */
export function claimDrafts(userId: string): void {
  try {
    const owner = sessionStorage.getItem(OWNER);
    if (owner !== null && owner !== userId) dropDrafts();
    sessionStorage.setItem(OWNER, userId);
  } catch {
    // Where nothing can be kept, nothing is.
  }
}

/** Drops every draft: whoever logs out leaves nothing behind. */
export function dropDrafts(): void {
  sessionStorage.removeItem(OWNER);
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
}
