// Lists all published posts, page by page, and follows the feed for what comes after.
import { createPromptmesh, pages, watchFeed } from "@promptmesh/client";

const mesh = createPromptmesh({ baseUrl: process.env.PROMPTMESH_URL ?? "http://localhost:8080" });

for await (const page of pages(mesh.posts.listPosts, { pageSize: 50 })) {
  for (const post of page.posts) console.log(`${post.authorName}: ${post.title}`);
}

const onState = ({ state }) => console.log(`The feed is ${state}.`);
const signal = AbortSignal.timeout(500); // a page would end it when it is left
for await (const { event } of watchFeed(mesh.posts, {}, { signal, onState })) {
  if (event.case === "post") console.log(`New: ${event.value.title}`);
}
