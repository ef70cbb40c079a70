import type { CallOptions } from "./transport.js";
import { PromptmeshError } from "./errors.js";

/**
 * Iterates the pages of a list, asking for each when it is wanted:
 *
 *     for await (const page of pages(mesh.posts.listPosts, { tag: "haiku" })) show(page.posts);
 */
export async function* pages<Request, Page extends { nextPageToken: string }>(
  call: (request: Request, options?: CallOptions) => Promise<Page>,
  request: Request,
  options?: CallOptions,
): AsyncGenerator<Page, void, undefined> {
  let next = request;
  for (;;) {
    const page = await call(next, options);
    yield page;
    if (page.nextPageToken === "") return;
    if (page.nextPageToken === (next as { pageToken?: string }).pageToken) {
      throw new PromptmeshError({
        code: "INTERNAL",
        reason: "PAGE_TOKEN_REPEATED",
        message: "The list names the same page again; what came before is not all of it.",
      });
    }
    next = { ...next, pageToken: page.nextPageToken };
  }
}
