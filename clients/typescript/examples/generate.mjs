// Streams an answer from a model with an API key, and stops after ten seconds.
import { createPromptmesh, MessageRole, StreamCutError } from "@promptmesh/client";

const mesh = createPromptmesh({
  baseUrl: process.env.PROMPTMESH_URL ?? "http://localhost:8080",
  apiKey: process.env.PROMPTMESH_API_KEY,
});

const request = {
  messages: [{ role: MessageRole.USER, content: "Say hello." }],
  sampling: { maxOutputTokens: 200 },
};
try {
  for await (const { event } of mesh.inference.generate(request, { signal: AbortSignal.timeout(10_000) })) {
    if (event.case === "delta") process.stdout.write(event.value.text);
    if (event.case === "usage") console.log(`\n${event.value.outputTokens} tokens, ${event.value.costNanos ?? "unknown"} nano-dollars`);
  }
} catch (error) {
  if (error instanceof StreamCutError) console.log("\nThe answer broke off; what stands above is not all of it.");
  else throw error;
}
