// Registers a person, publishes a prompt, and watches it until its example is there.
import { ExampleState, newRequestId, PostState, PromptmeshError, Session, createPromptmesh, watchPost } from "@promptmesh/client";

const baseUrl = process.env.PROMPTMESH_URL ?? "http://localhost:8080";
const session = new Session({ baseUrl });
const mesh = createPromptmesh({ baseUrl, session });

const user = await session.register(`${newRequestId()}@example.com`, "a long enough password", "Ada");
console.log(`Hello, ${user.displayName}.`);

try {
  await mesh.posts.createPost({ title: "", body: "Write a haiku about rain." });
} catch (error) {
  if (!(error instanceof PromptmeshError)) throw error;
  for (const { field, description } of error.violations) console.log(`${error.reason}: ${field} ${description}`);
}

const post = await mesh.posts.createPost({
  title: "Rain",
  body: "Write a haiku about rain.",
  tags: ["haiku"],
  requestId: newRequestId(), // so that the client may try again without publishing it twice
});

for await (const { event } of watchPost(mesh.posts, { postId: post.postId })) {
  if (event.case === "post") console.log(`It is ${PostState[event.value.state]}.`);
  if (event.case === "exampleDelta") process.stdout.write(event.value.text);
  if (event.case === "post" && event.value.example?.state === ExampleState.READY) break;
}
