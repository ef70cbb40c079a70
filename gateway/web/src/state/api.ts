/* The one client of the app. Pages call `api.posts.listPosts({ … })`; what needs a person goes through `call`. */
import { createPromptmesh, Session } from "@promptmesh/client";

const baseUrl = location.origin;

export const session = new Session({ baseUrl });
export const api = createPromptmesh({ baseUrl, session });
