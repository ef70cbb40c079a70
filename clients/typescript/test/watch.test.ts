import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { applyExampleDelta, createPromptmesh, newRequestId, pages, watchFeed, watchPost, type Promptmesh, type WatchState } from "@promptmesh/client";
import { ErrorInfoSchema, RetryInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import {
  ListPostsRequestSchema,
  ListPostsResponseSchema,
  WatchFeedRequestSchema,
  WatchFeedResponseSchema,
  WatchPostResponseSchema,
} from "../dist/gen/promptmesh/prompts/v1/posts_pb.js";
import { RESUME_BASE_MS, RESUME_CAP_MS } from "../dist/watch.js";
import { collect, fakeTiming, startToy, type Call, type Toy } from "./toy.ts";

let toy: Toy;
let mesh: Promptmesh;
let timing: ReturnType<typeof fakeTiming>;

before(async () => {
  toy = await startToy();
});
after(() => toy.close());
beforeEach(() => {
  toy.calls.length = 0;
  mesh = createPromptmesh({ baseUrl: toy.url });
  timing = fakeTiming();
});

const post = (call: Call, cursor: bigint, title: string) =>
  call.send(WatchFeedResponseSchema, { cursor, event: { case: "post", value: { title } } });
const heartbeat = (call: Call, cursor: bigint) =>
  call.send(WatchFeedResponseSchema, { cursor, event: { case: "heartbeat", value: {} } });
const afters = () => toy.calls.map((call) => call.request(WatchFeedRequestSchema).after);

/** Reads titles until the one named. */
async function titlesUntil(last: string, stream: AsyncIterable<{ event: { value?: unknown } }>): Promise<string[]> {
  const titles: string[] = [];
  for await (const { event } of stream) {
    titles.push((event.value as { title: string }).title);
    if (titles.at(-1) === last) break;
  }
  return titles;
}

test("the feed resumes after the last cursor, heartbeats' too, however it was interrupted", async () => {
  const states: WatchState[] = [];
  toy.will(
    async (call) => (await post(call, 5n, "a"), call.cut()),
    async (call) => (await heartbeat(call, 9n), call.endWithoutTrailers()),
    (call) => call.refuse(14, "away"),
    async (call) => {
      await call.send(WatchFeedResponseSchema, { cursor: 11n, event: { case: "done", value: { reason: 3 } } });
      await call.end();
    },
    async (call) => post(call, 12n, "b"),
  );

  const feed = watchFeed(mesh.posts, { tag: "t" }, { timing, onState: (one) => states.push(one) });
  assert.deepEqual(await titlesUntil("b", feed), ["a", "b"]);
  assert.deepEqual(afters(), [undefined, 5n, 9n, 9n, 11n]);
  assert.ok(toy.calls.every((call) => call.request(WatchFeedRequestSchema).tag === "t"));
  assert.deepEqual(timing.waits, [RESUME_BASE_MS, RESUME_BASE_MS, 2 * RESUME_BASE_MS, RESUME_BASE_MS]);
  const names = states.map((one) => (one.state === "waiting" ? one.error.reason : one.state));
  const cut = ["connecting", "live", "STREAM_CUT"];
  assert.deepEqual(names, [...cut, ...cut, "connecting", "UNEXPECTED", "connecting", "live", "connecting", "live"]);
  await toy.calls.at(-1)?.gone;
});

test("a caller's own cursor is where the feed begins", async () => {
  toy.will((call) => post(call, 8n, "a"));

  await titlesUntil("a", watchFeed(mesh.posts, { after: 7n }, { timing }));
  assert.deepEqual(afters(), [7n]);
});

test("waits grow to a bound, and hold to what the mesh asks", async () => {
  const refuse = (call: Call) => call.refuse(14, "away");
  const limit = (call: Call) =>
    call.refuse(8, "wait", [
      [ErrorInfoSchema, { reason: "WATCH_LIMIT" }],
      [RetryInfoSchema, { retryDelay: { seconds: 60n } }],
    ]);
  toy.will(...Array(9).fill(refuse), limit, (call: Call) => post(call, 1n, "a"));

  await titlesUntil("a", watchFeed(mesh.posts, {}, { timing }));
  assert.deepEqual(timing.waits.slice(0, 3), [500, 1_000, 2_000]);
  assert.equal(timing.waits[8], RESUME_CAP_MS);
  assert.equal(timing.waits[9], 60_000 + RESUME_CAP_MS);
});

test("what cannot be mended by trying again is thrown", async () => {
  for (const code of [3, 5, 7, 16]) {
    toy.will((call) => call.refuse(code, "no"));
    await assert.rejects(collect(watchFeed(mesh.posts, {}, { timing })));
  }
  assert.deepEqual(timing.waits, []);
});

test("a cursor too old is thrown, or told and left behind", async () => {
  const expired = (call: Call) => call.refuse(11, "old", [[ErrorInfoSchema, { reason: "CURSOR_EXPIRED" }]]);
  toy.will(expired);
  await assert.rejects(collect(watchFeed(mesh.posts, { after: 1n }, { timing })), { reason: "CURSOR_EXPIRED" });

  toy.calls.length = 0;
  let gaps = 0;
  toy.will(expired, (call) => post(call, 50n, "a"));
  await titlesUntil("a", watchFeed(mesh.posts, { after: 1n }, { timing, onGap: () => void gaps++ }));
  assert.equal(gaps, 1);
  assert.deepEqual(afters(), [1n, undefined]);
});

test("a stream that falls silent is given up and resumed", async () => {
  toy.will(
    (call) => post(call, 3n, "a"),
    (call) => post(call, 4n, "b"),
  );

  // Long enough that a busy machine answers in time: what is slow would be given up, too.
  assert.deepEqual(await titlesUntil("b", watchFeed(mesh.posts, {}, { timing, silenceMs: 1_000 })), ["a", "b"]);
  assert.deepEqual(afters(), [undefined, 3n]);
});

test("the signal ends a watch without an error, while it reads and while it waits", async () => {
  const reading = new AbortController();
  toy.will((call) => post(call, 1n, "a"));
  for await (const _ of watchFeed(mesh.posts, {}, { signal: reading.signal })) reading.abort();
  await toy.calls[0]?.gone;

  const waiting = new AbortController();
  toy.will((call) => call.refuse(14, "away"));
  const onState = (one: WatchState) => one.state === "waiting" && waiting.abort();
  assert.deepEqual(await collect(watchFeed(mesh.posts, {}, { signal: waiting.signal, onState })), []);
  assert.deepEqual(await collect(watchFeed(mesh.posts, {}, { signal: AbortSignal.abort() })), []);
});

test("the network's return ends the wait", async () => {
  toy.will(
    (call) => call.refuse(8, "wait", [[RetryInfoSchema, { retryDelay: { seconds: 3600n } }]]),
    (call) => post(call, 1n, "a"),
  );
  const events = new EventTarget();
  Object.assign(globalThis, {
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
  });
  const onState = (one: WatchState) =>
    one.state === "waiting" && setImmediate(() => events.dispatchEvent(new Event("online")));

  assert.deepEqual(await titlesUntil("a", watchFeed(mesh.posts, {}, { onState })), ["a"]);
});

test("a post's watch goes on over cuts and ends when the post is deleted", async () => {
  const now = (call: Call) => call.send(WatchPostResponseSchema, { cursor: 1n, event: { case: "post", value: {} } });
  toy.will(
    async (call) => (await now(call), call.cut()),
    async (call) => {
      await now(call);
      await call.send(WatchPostResponseSchema, { event: { case: "done", value: { reason: 1 } } });
      await call.end();
    },
  );

  const events = await collect(watchPost(mesh.posts, { postId: "p" }, { timing }));
  assert.deepEqual(
    events.map((one) => one.event.case),
    ["post", "post", "done"],
  );
});

test("pages are asked for one after the other, with the same filters", async () => {
  toy.will(
    (call) => call.answer(ListPostsResponseSchema, { posts: [{}, {}], nextPageToken: "two" }),
    (call) => call.answer(ListPostsResponseSchema, { posts: [{}] }),
  );

  const got = await collect(pages(mesh.posts.listPosts, { tag: "t" }));
  assert.deepEqual(
    got.map((page) => page.posts.length),
    [2, 1],
  );
  const asked = toy.calls.map((call) => call.request(ListPostsRequestSchema));
  assert.deepEqual(
    asked.map((one) => [one.tag, one.pageToken]),
    [
      ["t", ""],
      ["t", "two"],
    ],
  );
});

test("pages that nobody wants are not asked for, and a list that does not end is an error", async () => {
  toy.will((call) => call.answer(ListPostsResponseSchema, { nextPageToken: "same" }));
  for await (const _ of pages(mesh.posts.listPosts, {})) break;
  assert.equal(toy.calls.length, 1);

  await assert.rejects(collect(pages(mesh.posts.listPosts, {})), { reason: "PAGE_TOKEN_REPEATED" });
});

test("pieces of an example are put where they belong, in code points", () => {
  assert.equal(applyExampleDelta("old", { offset: 0, text: "🙂a" }), "🙂a");
  assert.equal(applyExampleDelta("🙂a", { offset: 2, text: "b" }), "🙂ab");
  assert.equal(applyExampleDelta("🙂ab", { offset: 1, text: "c" }), "🙂c");
});

test("request ids are UUIDs, each another, with or without crypto", (t) => {
  t.after(() => Object.defineProperty(globalThis, "crypto", own));
  const own = Object.getOwnPropertyDescriptor(globalThis, "crypto") as PropertyDescriptor;
  const ids = new Set(Array.from({ length: 100 }, newRequestId));
  Object.defineProperty(globalThis, "crypto", { value: undefined, configurable: true });
  for (let made = 0; made < 100; made++) ids.add(newRequestId());
  assert.equal(ids.size, 200);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
