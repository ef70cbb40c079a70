import assert from "node:assert/strict";
import { after, beforeEach, before, test } from "node:test";
import { createPromptmesh, PromptmeshError, type Promptmesh } from "@promptmesh/client";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../dist/gen/google/rpc/error_details_pb.js";
import { PostSchema } from "../dist/gen/promptmesh/prompts/v1/posts_pb.js";
import { startToy, thrown, type Call, type Toy } from "./toy.ts";

let toy: Toy;
let mesh: Promptmesh;

before(async () => {
  toy = await startToy();
});
after(() => toy.close());
beforeEach(() => {
  mesh = createPromptmesh({ baseUrl: toy.url });
  toy.calls.length = 0;
});

async function refusal(answer: (call: Call) => unknown, options = {}): Promise<PromptmeshError> {
  toy.will(answer);
  const error = await thrown(() => mesh.posts.likePost({ postId: "p" }, options));
  assert.ok(error instanceof PromptmeshError, String(error));
  return error;
}

const info = (reason: string, metadata = {}) =>
  [ErrorInfoSchema, { reason, domain: "promptmesh", metadata }] as [typeof ErrorInfoSchema, object];

test("all details of an error are decoded, from headers and from trailers alike", async () => {
  const details: [never, object][] = [
    info("LIMIT_REACHED", { limit: "rpm" }),
    [BadRequestSchema, { fieldViolations: [{ field: "post.tags[2]", description: "too long" }] }],
    [RetryInfoSchema, { retryDelay: { seconds: 61n, nanos: 500_000_000 } }],
    [QuotaFailureSchema, { violations: [{ subject: "key:1", description: "60 a minute" }] }],
    [RequestInfoSchema, { requestId: "r-1" }],
  ] as never;
  for (const refuse of ["refuse", "fail"] as const) {
    const error = await refusal((call) => call[refuse](8, "Too much: wait – ☃.", details));

    assert.equal(error.code, "RESOURCE_EXHAUSTED");
    assert.equal(error.reason, "LIMIT_REACHED");
    assert.equal(error.message, "Too much: wait – ☃.");
    assert.deepEqual(error.violations, [{ field: "post.tags[2]", description: "too long" }]);
    assert.equal(error.retryAfterMs, 61_500);
    assert.deepEqual(error.quota, [{ subject: "key:1", description: "60 a minute" }]);
    assert.equal(error.requestId, "r-1");
    assert.deepEqual(error.metadata, { limit: "rpm" });
  }
});

test("an error without details keeps status, message and the request id of the headers", async () => {
  const error = await refusal((call) => call.refuse(5, "no such thing"));

  assert.deepEqual(
    [error.code, error.reason, error.message, error.requestId, error.violations, error.retryAfterMs, error.quota],
    ["NOT_FOUND", "UNEXPECTED", "no such thing", "toy-request", [], undefined, undefined],
  );
});

test("a wait in the retry-after header is taken where RetryInfo is absent", async () => {
  const error = await refusal((call) => call.refuse(8, "slow down", [info("RATE_LIMITED")], { "retry-after": "7" }));

  assert.equal(error.retryAfterMs, 7_000);
});

test("details that cannot be read do no harm", async () => {
  const error = await refusal((call) => call.refuse(13, "broken", [], { "grpc-status-details-bin": "!!!" }));

  assert.deepEqual([error.code, error.message], ["INTERNAL", "broken"]);
});

test("a proxy's own page is an error by its HTTP status", async () => {
  const error = await refusal((call) => call.plain(503, "<html>busy</html>"));

  assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "UNEXPECTED"]);
});

test("a connection that breaks, before or in the answer, is UNAVAILABLE", async () => {
  for (const answer of [
    (call: Call) => call.cut(),
    async (call: Call) => (await call.send(PostSchema, { postId: "p" }), call.cut()),
    async (call: Call) => (await call.send(PostSchema, { postId: "p" }), call.endWithoutTrailers()),
    (call: Call) => call.endWithoutTrailers(),
  ]) {
    const error = await refusal(answer);

    assert.deepEqual([error.code, error.reason], ["UNAVAILABLE", "CONNECTION_FAILED"]);
  }
});

test("no server at all is UNAVAILABLE", async () => {
  const nobody = await startToy();
  await nobody.close();
  mesh = createPromptmesh({ baseUrl: nobody.url });

  const error = await refusal(() => undefined);

  assert.deepEqual([error.code, error.reason, error.requestId], ["UNAVAILABLE", "CONNECTION_FAILED", ""]);
});

test("the deadline ends a call that hangs, and the server is told", async () => {
  const error = await refusal(() => undefined, { timeoutMs: 50 });

  assert.deepEqual([error.code, error.reason], ["DEADLINE_EXCEEDED", "DEADLINE_PASSED"]);
  assert.match(String(toy.calls[0]?.headers["grpc-timeout"]), /^\d+m$/);
  await toy.calls[0]?.gone;
});

test("every unary call has the deadline of the client, thirty seconds where none is set", async () => {
  await refusal((call) => call.refuse(5, "no"));
  mesh = createPromptmesh({ baseUrl: toy.url, timeoutMs: 1_234 });
  await refusal((call) => call.refuse(5, "no"));
  mesh = createPromptmesh({ baseUrl: toy.url, timeoutMs: 0 });
  await refusal((call) => call.refuse(5, "no"));

  const [standard, own, none] = toy.calls.map((call) => call.headers["grpc-timeout"]);
  const ms = (value: unknown) => Number(String(value).replace("m", ""));
  assert.ok(ms(standard) > 20_000 && ms(standard) <= 30_000, String(standard));
  assert.ok(ms(own) > 0 && ms(own) <= 1_234, String(own));
  assert.equal(none, undefined);
});

test("the caller's signal cancels, before and during a call", async () => {
  const before = await refusal(() => undefined, { signal: AbortSignal.abort() });
  assert.deepEqual([before.code, before.reason], ["CANCELLED", "CANCELLED"]);

  const controller = new AbortController();
  const during = await refusal(() => controller.abort(new Error("enough")), { signal: controller.signal });
  assert.equal(during.code, "CANCELLED");
  await toy.calls.at(-1)?.gone;
});

test("a request that cannot be encoded is refused here", async () => {
  const error = await thrown(() => mesh.posts.listPosts({ pageSize: 1.5 }));

  assert.ok(error instanceof PromptmeshError);
  assert.deepEqual([error.code, error.reason], ["INVALID_ARGUMENT", "REQUEST_UNSENDABLE"]);
  assert.match(error.message, /page_size/);
  assert.equal(toy.calls.length, 0);
});
