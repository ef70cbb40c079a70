/** Against a real mesh, through its real edge. MESH_URL, MESH_ADMIN_EMAIL and MESH_ADMIN_PASSWORD say which. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test } from "node:test";
import {
  createPromptmesh,
  ExampleState,
  newRequestId,
  pages,
  PostState,
  PromptmeshError,
  Role,
  Session,
  StreamCutError,
  WatchEnd,
  watchFeed,
  watchPost,
} from "@promptmesh/client";
import { thrown } from "../toy.ts";

const baseUrl = process.env["MESH_URL"] as string;
let people = 0;

async function person(options: { baseUrl?: string; fetch?: typeof fetch } = {}) {
  const session = new Session({ baseUrl, ...options });
  const mesh = createPromptmesh({ baseUrl, session, ...options });
  const user = await session.register(`ts-${++people}-${process.pid}@example.com`, "a long enough password", "Ada");
  return { session, mesh, user };
}

/** A plain TCP relay to the mesh, whose connections can be cut. */
async function relay() {
  const sockets = new Set<Socket>();
  const server = createServer((from) => {
    const to = connect(Number(new URL(baseUrl).port), "127.0.0.1");
    for (const [socket, other] of [[from, to] as const, [to, from] as const]) {
      sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => (sockets.delete(socket), other.destroy()));
    }
    from.pipe(to).pipe(from);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    [Symbol.dispose]: () => (cut(), server.close()),
  };
}

/** fetch with cookies, as a browser keeps them. */
function browser() {
  const jar = new Map<string, string>();
  const cookies: string[] = [];
  const browse: typeof fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    if (jar.size > 0) headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const answer = await fetch(input, { ...init, headers });
    for (const cookie of answer.headers.getSetCookie()) {
      cookies.push(cookie);
      const [pair = ""] = cookie.split(";");
      const name = pair.slice(0, pair.indexOf("="));
      if (/max-age=0/i.test(cookie)) jar.delete(name);
      else jar.set(name, pair.slice(name.length + 1));
    }
    return answer;
  };
  return { browse, cookies, jar };
}

test("a post goes from pending to its example, seen by a watch and by the feed", async () => {
  const { mesh, user } = await person();
  const requestId = newRequestId();
  const request = { title: "Hello", body: "Write a haiku about rain.", tags: ["haiku"], requestId };
  const post = await mesh.posts.createPost(request);
  assert.equal(post.state, PostState.PENDING);
  assert.equal((await mesh.posts.createPost(request)).postId, post.postId);

  const states = new Set<PostState>();
  let example = "";
  for await (const { event } of watchPost(mesh.posts, { postId: post.postId })) {
    if (event.case !== "post") continue;
    states.add(event.value.state);
    example = event.value.example?.text ?? "";
    if (event.value.example?.state === ExampleState.READY) break;
  }
  assert.ok(states.has(PostState.PUBLISHED));
  assert.match(example, /demo answer/);

  const mine: string[] = [];
  for await (const page of pages(mesh.posts.listPosts, { authorId: user.userId, pageSize: 1 })) {
    mine.push(...page.posts.map((one) => one.postId));
  }
  assert.deepEqual(mine, [post.postId]);
});

test("errors of the mesh arrive whole", async () => {
  const { mesh } = await person();

  const invalid = await thrown(() => mesh.posts.createPost({ title: "", body: "x".repeat(20_001) }));
  assert.ok(invalid instanceof PromptmeshError);
  assert.deepEqual([invalid.code, invalid.reason], ["INVALID_ARGUMENT", "INVALID_FIELD"]);
  assert.deepEqual(
    invalid.violations.map((one) => one.field),
    ["title", "body"],
  );
  assert.match(invalid.requestId, /^[0-9a-f-]{36}$/);

  await assert.rejects(mesh.posts.getPost({ postId: newRequestId() }), { code: "NOT_FOUND", reason: "POST_NOT_FOUND" });
  await assert.rejects(mesh.auth.setRoles({ userId: newRequestId(), roles: [Role.ADMIN] }), { reason: "ROLE_MISSING" });
  const nobody = createPromptmesh({ baseUrl });
  await assert.rejects(nobody.auth.getMe({}), { code: "UNAUTHENTICATED", reason: "CREDENTIAL_MISSING" });
  const forged = createPromptmesh({ baseUrl, apiKey: "pm_forged" });
  await assert.rejects(forged.inference.listModels({}), { code: "UNAUTHENTICATED", reason: "CREDENTIAL_INVALID" });
});

test("a token that expires in the middle of a watch and of calls is renewed", async (t) => {
  const refreshes: string[] = [];
  const counting: typeof fetch = (input, init) => {
    if (String(input).endsWith("RefreshSession")) refreshes.push(String(input));
    return fetch(input, init);
  };
  const { mesh, user } = await person({ fetch: counting });
  // The client believes that its token is fresh; the mesh knows better.
  const now = Date.now();
  t.mock.method(Date, "now", () => now);

  let end: WatchEnd | undefined;
  for await (const { event } of mesh.posts.watchFeed({})) if (event.case === "done") end = event.value.reason;
  assert.equal(end, WatchEnd.CREDENTIAL_ENDED);
  assert.equal(refreshes.length, 0);

  // The mesh allows clocks to differ a little: for so long the old token still passes. No call may fail meanwhile.
  while (refreshes.length === 0) {
    const [me, own] = await Promise.all([mesh.auth.getMe({}), mesh.posts.listPosts({ authorId: user.userId })]);
    assert.deepEqual([me.userId, own.posts], [user.userId, []]);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(refreshes.length, 1);
});

test("a connection that is cut ends a stream with an error, and a watch goes on where it was", async () => {
  using line = await relay();
  const { mesh } = await person();
  const cuttable = createPromptmesh({ baseUrl: line.url });
  const publish = (title: string, tag: string) => mesh.posts.createPost({ title, body: "Say hello.", tags: [tag] });

  const raw = await thrown(async () => {
    for await (const _ of cuttable.posts.watchFeed({})) line.cut();
  });
  assert.ok(raw instanceof StreamCutError, String(raw));

  const tag = `cut-${process.pid}`;
  const titles: string[] = [];
  const states: string[] = [];
  const options = {
    onState: ({ state }: { state: string }) => {
      states.push(state);
      // Published while nobody is connected: only the cursor brings it.
      if (state === "live" && titles.length === 0) void publish("first", tag);
    },
  };
  for await (const { event } of watchFeed(cuttable.posts, { tag }, options)) {
    if (event.case !== "post" || titles.includes(event.value.title)) continue;
    titles.push(event.value.title);
    if (event.value.title === "second") break;
    line.cut();
    await publish("second", tag);
  }
  assert.deepEqual(titles, ["first", "second"]);
  assert.deepEqual(states.slice(0, 5), ["connecting", "live", "waiting", "connecting", "live"]);
});

test("an answer streams from the model to its end, and stops where the reader does", async () => {
  const { mesh } = await person();
  const { secret } = await mesh.auth.createApiKey({ displayName: "script" });
  const script = createPromptmesh({ baseUrl, apiKey: secret });

  let text = "";
  let finished = false;
  for await (const { event } of script.inference.generate({ messages: [{ role: 2, content: "Say hi." }] })) {
    if (event.case === "delta") text += event.value.text;
    finished ||= event.case === "done";
  }
  assert.match(text, /demo answer/);
  assert.ok(finished);

  const controller = new AbortController();
  await assert.rejects(
    async () => {
      const request = { messages: [{ role: 2, content: "Say hi." }] };
      for await (const _ of script.inference.generate(request, { signal: controller.signal })) controller.abort();
    },
    { code: "CANCELLED" },
  );
});

test("a browser's session lives in a cookie that outlives the page, until it logs out", async () => {
  const { user, session } = await person();
  await session.logOut();
  const { browse, cookies, jar } = browser();
  const open = () => new Session({ baseUrl, fetch: browse, keep: "cookie" });

  const page = open();
  assert.equal(await page.restore(), undefined);
  await page.logIn(user.email, "a long enough password");
  page.close();
  assert.equal(jar.size, 1);
  assert.match(cookies[0] as string, /; HttpOnly; SameSite=Strict/i);

  const reloaded = open();
  assert.equal((await reloaded.restore())?.userId, user.userId);
  await reloaded.logOut();
  reloaded.close();
  assert.equal(jar.size, 0);
  const after = open();
  assert.equal(await after.restore(), undefined);
  after.close();
});
