import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { createPromptmesh, PromptmeshError } from "@promptmesh/client";
import { PostSchema, WatchFeedResponseSchema } from "../dist/gen/promptmesh/prompts/v1/posts_pb.js";
import { frame } from "../dist/grpc_web.js";
import { collect, thrown } from "./toy.ts";

const GRPC_WEB = { "content-type": "application/grpc-web+proto" };
const OK = trailers("grpc-status: 0\r\ngrpc-message: \r\n");

function trailers(text: string): Uint8Array {
  const framed = frame(new TextEncoder().encode(text));
  framed[0] = 0x80;
  return framed;
}

const post = (title: string) =>
  frame(toBinary(WatchFeedResponseSchema, create(WatchFeedResponseSchema, { event: { case: "post", value: { title } } })));
const done = frame(
  toBinary(WatchFeedResponseSchema, create(WatchFeedResponseSchema, { event: { case: "done", value: {} } })),
);

/** A mesh whose answers are these pieces, as one read finds them. */
function meshOf(pieces: Uint8Array[], headers: Record<string, string> = GRPC_WEB, status = 200) {
  const fetch = async () =>
    new Response(new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(piece);
        controller.close();
      },
    }), { status, headers });
  return createPromptmesh({ baseUrl: "http://mesh.test/", fetch });
}

const bytes = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const titles = async (mesh: ReturnType<typeof meshOf>) =>
  (await collect(mesh.posts.watchFeed({}))).map(({ event }) => (event.case === "post" ? event.value.title : event.case));

test("frames are found however the answer is cut into reads", async () => {
  const long = "ü".repeat(2_000);
  const all = bytes(post("a"), post(""), post(long), done, OK);
  for (const size of [1, 2, 3, 4, 5, 6, 7, 1_000, all.length]) {
    const pieces = [];
    for (let at = 0; at < all.length; at += size) pieces.push(all.slice(at, at + size));
    if (size === 1) pieces.splice(3, 0, new Uint8Array(0));

    assert.deepEqual(await titles(meshOf(pieces)), ["a", "", long, "done"], `reads of ${size} bytes`);
  }
});

test("wherever the answer ends too early, the stream was cut", async () => {
  const all = bytes(post("a"), post("b"), OK);
  for (let length = 0; length < all.length; length++) {
    await assert.rejects(titles(meshOf([all.slice(0, length)])), { reason: "STREAM_CUT" }, `after ${length} bytes`);
  }
});

test("what is no answer of the mesh is told so", async () => {
  const page = new TextEncoder().encode("<html>hello</html>");
  for (const [status, code] of [[200, "UNKNOWN"], [404, "UNIMPLEMENTED"], [401, "UNAUTHENTICATED"], [502, "UNAVAILABLE"]] as const) {
    const mesh = meshOf([page], { "content-type": "text/html", "retry-after": "3600" }, status);
    const error = await thrown(() => mesh.posts.getPost({ postId: "p" }));

    assert.ok(error instanceof PromptmeshError);
    assert.deepEqual([error.code, error.reason, error.retryAfterMs], [code, "UNEXPECTED", 3_600_000]);
    assert.match(error.message, new RegExp(`HTTP ${status}`));
  }
});

test("an answer that cannot be read is told so, too", async () => {
  const compressed = frame(new Uint8Array(3));
  compressed[0] = 1;
  for (const broken of [compressed, frame(new Uint8Array([0xff, 0xff, 0xff]))]) {
    await assert.rejects(titles(meshOf([broken, OK])), { code: "INTERNAL", reason: "UNEXPECTED" });
    await assert.rejects(meshOf([broken, OK]).posts.getPost({ postId: "p" }), { code: "INTERNAL" });
  }
});

test("an answer without a message, or without a status, is none", async () => {
  const one = frame(toBinary(PostSchema, create(PostSchema, { title: "t" })));
  for (const pieces of [[OK], [one, trailers("x-other: 1\r\n")]]) {
    const error = await thrown(() => meshOf(pieces).posts.likePost({ postId: "p" }));
    assert.equal((error as PromptmeshError).reason, "CONNECTION_FAILED");
  }
});

test("headers and trailers are handed over, and fetch gets what the edge wants", async () => {
  const asked: [string, RequestInit][] = [];
  const one = frame(toBinary(PostSchema, create(PostSchema, { title: "t" })));
  const fetch = async function (this: unknown, input: unknown, init?: RequestInit) {
    assert.equal(this, undefined); // a browser's own would refuse
    asked.push([String(input), init as RequestInit]);
    return new Response(bytes(one, trailers("grpc-status:0\r\nx-cost: 7\r\n")), { headers: { ...GRPC_WEB, "x-a": "b" } });
  };
  const seen: (string | null)[] = [];
  const mesh = createPromptmesh({ baseUrl: "http://mesh.test//", fetch: fetch as typeof globalThis.fetch });
  await mesh.posts.getPost(
    { postId: "p" },
    {
      headers: { "x-mine": "1" },
      onHeader: (headers) => seen.push(headers.get("x-a")),
      onTrailer: (headers) => seen.push(headers.get("x-cost")),
    },
  );

  assert.deepEqual(seen, ["b", "7"]);
  const [url, init] = asked[0] as [string, RequestInit];
  const headers = init.headers as Headers;
  assert.equal(url, "http://mesh.test/promptmesh.prompts.v1.PostService/GetPost");
  assert.deepEqual(
    ["content-type", "x-grpc-web", "x-mine", "authorization"].map((name) => headers.get(name)),
    ["application/grpc-web+proto", "1", "1", null],
  );
});

test("an error's percent-encoding that is none is shown as it came", async () => {
  const headers = { ...GRPC_WEB, "grpc-status": "9", "grpc-message": "100 % wrong" };
  await assert.rejects(meshOf([], headers).posts.getPost({ postId: "p" }), { message: "100 % wrong" });
});
