import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { PromptmeshError } from "@promptmesh/client";
import { createServiceClient, type ServiceClient } from "../dist/calls.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import { ListPostsResponseSchema, PostSchema, PostService } from "../dist/gen/promptmesh/prompts/v1/posts_pb.js";
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, MAX_ATTEMPTS, RETRY_AFTER_CAP_MS } from "../dist/retries.js";
import { backoffMs } from "../dist/timing.js";
import { createMeshTransport } from "../dist/transport.js";
import { fakeTiming, startToy, thrown, type Call, type Toy } from "./toy.ts";

let toy: Toy;
let timing: ReturnType<typeof fakeTiming>;
let posts: ServiceClient<typeof PostService>;

before(async () => {
  toy = await startToy();
});
after(() => toy.close());
beforeEach(() => {
  toy.calls.length = 0;
  timing = fakeTiming();
  posts = createServiceClient(PostService, createMeshTransport({ baseUrl: toy.url, timing }));
});

const unavailable = (call: Call) => call.refuse(14, "away", [[ErrorInfoSchema, { reason: "DRAINING" }]]);
const limited = (seconds: number) => (call: Call) =>
  call.refuse(8, "wait", [
    [ErrorInfoSchema, { reason: "RATE_LIMITED" }],
    [RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds) } }],
  ]);
const post = (call: Call) => call.answer(PostSchema, { postId: "p" });

test("a read is repeated with growing waits until it is answered", async () => {
  toy.will(unavailable, (call) => call.cut(), post);

  assert.equal((await posts.getPost({ postId: "p" })).postId, "p");
  assert.equal(toy.calls.length, 3);
  assert.deepEqual(timing.waits, [BACKOFF_BASE_MS, 2 * BACKOFF_BASE_MS]);
});

test("a list is a read, too", async () => {
  toy.will(unavailable, (call) => call.answer(ListPostsResponseSchema, {}));

  await posts.listPosts({});
  assert.equal(toy.calls.length, 2);
});

test("after so many tries the last error comes out", async () => {
  toy.will(unavailable);

  const error = await thrown(() => posts.getPost({ postId: "p" }));
  assert.ok(error instanceof PromptmeshError);
  assert.equal(error.reason, "DRAINING");
  assert.equal(toy.calls.length, MAX_ATTEMPTS);
});

test("a create is repeated with a request id, and not without one", async () => {
  toy.will(unavailable, post);
  await posts.createPost({ title: "t", body: "b", requestId: "one" });
  assert.equal(toy.calls.length, 2);

  toy.calls.length = 0;
  toy.will(unavailable, post);
  await assert.rejects(posts.createPost({ title: "t", body: "b" }), { reason: "DRAINING" });
  assert.equal(toy.calls.length, 1);
});

test("other writes are not repeated", async () => {
  toy.will(unavailable);

  await assert.rejects(posts.updatePost({ post: { postId: "p" } }));
  await assert.rejects(posts.deletePost({ postId: "p" }));
  assert.equal(toy.calls.length, 2);
});

test("what is not passing is not repeated", async () => {
  for (const code of [3, 5, 7, 13, 8]) {
    toy.calls.length = 0;
    toy.will((call) => call.refuse(code, "no"));
    await assert.rejects(posts.getPost({ postId: "p" }));
    assert.equal(toy.calls.length, 1, `status ${code}`);
  }
});

test("the mesh's own wait is kept, with jitter on top", async () => {
  toy.will(limited(3), post);

  await posts.getPost({ postId: "p" });
  assert.deepEqual(timing.waits, [3_000 + BACKOFF_BASE_MS]);
});

test("a wait longer than the bound is the caller's to decide", async () => {
  toy.will(limited(RETRY_AFTER_CAP_MS / 1000 + 1));

  await assert.rejects(posts.getPost({ postId: "p" }), { reason: "RATE_LIMITED", retryAfterMs: RETRY_AFTER_CAP_MS + 1000 });
  assert.deepEqual(timing.waits, []);
});

test("no wait goes past the deadline", async () => {
  toy.will(limited(3));

  await assert.rejects(posts.getPost({ postId: "p" }, { timeoutMs: 3_000 }), { reason: "RATE_LIMITED" });
  assert.deepEqual(timing.waits, []);
});

test("the retries share one deadline", async () => {
  toy.will(limited(3), post);

  await posts.getPost({ postId: "p" }, { timeoutMs: 10_000 });
  const [first, second] = toy.calls.map((call) => call.headers["grpc-timeout"]);
  assert.equal(first, "10000m");
  assert.equal(second, "6800m");
});

test("the signal ends the wait", async () => {
  const controller = new AbortController();
  const real = createServiceClient(PostService, createMeshTransport({ baseUrl: toy.url }));
  toy.will((call) => {
    limited(9)(call);
    call.gone.then(() => controller.abort());
  });

  await assert.rejects(real.getPost({ postId: "p" }, { signal: controller.signal }), { code: "CANCELLED" });
});

test("waits double, are jittered by half, and are bounded", () => {
  assert.equal(backoffMs(1, 100, 5_000, () => 0), 50);
  assert.equal(backoffMs(1, 100, 5_000, () => 1), 100);
  assert.equal(backoffMs(3, 100, 5_000, () => 1), 400);
  assert.equal(backoffMs(60, 100, BACKOFF_CAP_MS, () => 1), BACKOFF_CAP_MS);
});
