import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { createPromptmesh, SecondFactorRequired, Session, type SessionOptions } from "@promptmesh/client";
import { createAccounts } from "@promptmesh/client/accounts";
import {
  CreateSessionRequestSchema,
  RefreshSessionRequestSchema,
  SessionSchema,
  UserSchema,
} from "../dist/gen/promptmesh/auth/v1/auth_pb.js";
import {
  CompleteSessionRequestSchema,
  ConfirmSessionRequestSchema,
} from "../dist/gen/promptmesh/auth/v1/factors_pb.js";
import { GenerateResponseSchema } from "../dist/gen/promptmesh/inference/v1/inference_pb.js";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { ErrorInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import { collect, startToy, type Call, type Toy } from "./toy.ts";

let toy: Toy;
let issued: number;
/** The tokens that the toy takes; all else is expired. */
let valid: Set<string>;
/** Those of them that were given for a proof. */
let confirmed: Set<string> | undefined;
let refreshGate: Promise<unknown>;
const sessions: Session[] = [];

before(async () => {
  toy = await startToy();
});
after(() => toy.close());
beforeEach(() => {
  toy.calls.length = 0;
  issued = 0;
  valid = new Set();
  confirmed = undefined;
  refreshGate = Promise.resolve();
  toy.will(serve);
});
afterEach(() => {
  for (const session of sessions.splice(0)) session.close();
});

/** A JWT in form, which lives so long. */
function jwt(lifetimeS: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  // The mesh's clock is a year ahead of this machine's: only the difference counts.
  const iat = Math.floor(Date.now() / 1000) + 365 * 86_400;
  return `${part({ alg: "none" })}.${part({ iat, exp: iat + lifetimeS, "ü": `ÿþ${++issued}` })}.sig`;
}

let lifetimeS = 600;

async function issue(call: Call, cookie: boolean): Promise<void> {
  const accessToken = jwt(lifetimeS);
  valid = new Set([accessToken]);
  const refreshToken = cookie ? "" : `pmr_${issued}`;
  const accessExpireTime = { seconds: BigInt(issued) };
  const user = { userId: "u", displayName: "Ada" };
  const refreshExpireTime = { seconds: BigInt(Date.UTC(2040, 0) / 1000) };
  await call.answer(SessionSchema, { sessionId: "s", accessToken, accessExpireTime, refreshToken, refreshExpireTime, user });
}

async function serve(call: Call): Promise<void> {
  const expired = (reason = "CREDENTIAL_EXPIRED") => call.refuse(16, "no", [[ErrorInfoSchema, { reason }]]);
  switch (call.method) {
    case "Register":
      return call.answer(UserSchema, { userId: "u" });
    case "CreateSession": {
      const request = call.request(CreateSessionRequestSchema);
      if (request.password === "wrong") return expired("LOGIN_FAILED");
      if (request.password === "guarded") {
        return call.answer(SessionSchema, { challenge: { challengeToken: "pmc_1", factors: [1, 2] } });
      }
      return issue(call, call.headers["x-csrf-protection"] === "1");
    }
    case "CompleteSession": {
      const { challengeToken, proof, cookie } = call.request(CompleteSessionRequestSchema);
      assert.equal(cookie, call.headers["x-csrf-protection"] === "1");
      if (challengeToken !== "pmc_1" || proof?.proof.value !== "123456") return expired("PROOF_WRONG");
      return issue(call, cookie);
    }
    case "ConfirmSession": {
      const { proof } = call.request(ConfirmSessionRequestSchema);
      if (!valid.has(call.token ?? "")) return expired();
      if (proof?.proof.value !== "123456") return expired("PROOF_WRONG");
      const refreshToken = `pmr_${issued}`;
      await issue(call, true); // without a refresh token: it stays
      issued = Number(refreshToken.slice(4));
      confirmed = valid;
      return;
    }
    case "SetRoles":
      if (!valid.has(call.token ?? "")) return expired();
      if (confirmed !== valid) return call.refuse(7, "no", [[ErrorInfoSchema, { reason: "STEP_UP_REQUIRED" }]]);
      return call.answer(UserSchema, { userId: "u" });
    case "RefreshSession": {
      await refreshGate;
      const { refreshToken } = call.request(RefreshSessionRequestSchema);
      const byCookie = refreshToken === "" && call.headers["x-csrf-protection"] === "1" && issued > 0;
      if (!byCookie && refreshToken !== `pmr_${issued}`) return expired("CREDENTIAL_INVALID");
      return issue(call, byCookie);
    }
    case "DeleteSession":
      return valid.delete(call.token ?? "") ? call.answer(EmptySchema, {}) : expired();
    case "Generate":
      if (!valid.has(call.token ?? "")) return expired();
      await call.send(GenerateResponseSchema, { event: { case: "done", value: {} } });
      return call.end();
    default:
      if (call.token === undefined) return expired("CREDENTIAL_MISSING");
      return valid.has(call.token) ? call.answer(UserSchema, { userId: "u" }) : expired();
  }
}

function open(options: Partial<SessionOptions> = {}) {
  const session = new Session({ baseUrl: toy.url, keep: "memory", ...options });
  sessions.push(session);
  return { session, mesh: createPromptmesh({ baseUrl: toy.url, session }) };
}

const methods = () => toy.calls.map((call) => call.method);

test("registering logs in, and calls carry the access token", async () => {
  const { session, mesh } = open();
  assert.equal(session.state, "unknown");

  const user = await session.register("ada@example.com", "a long enough password", "Ada");
  assert.equal(user.displayName, "Ada");
  assert.deepEqual([session.state, session.user], ["signed-in", user]);
  assert.equal((await mesh.auth.getMe({})).userId, "u");
  assert.deepEqual(methods(), ["Register", "CreateSession", "GetMe"]);
});

test("a wrong password is told, and nothing else is tried", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");

  await assert.rejects(session.logIn("ada@example.com", "wrong"), { reason: "LOGIN_FAILED" });
  await assert.rejects(mesh.auth.createSession({ email: "a", password: "wrong" }), { reason: "LOGIN_FAILED" });
  assert.deepEqual(methods(), ["CreateSession", "CreateSession", "CreateSession"]);
  assert.equal(session.state, "signed-in");
});

test("a second factor is asked by an error that ends the log-in", async () => {
  const { session } = open();
  const asked = await session.logIn("ada@example.com", "guarded").catch((error: unknown) => error);
  assert.ok(asked instanceof SecondFactorRequired);
  assert.deepEqual([asked.challenge.challengeToken, asked.challenge.factors], ["pmc_1", [1, 2]]);
  assert.notEqual(session.state, "signed-in");

  await assert.rejects(asked.complete({ case: "totpCode", value: "000000" }), { reason: "PROOF_WRONG" });
  assert.equal((await asked.complete({ case: "totpCode", value: "123456" })).displayName, "Ada");
  assert.equal(session.state, "signed-in");
  assert.deepEqual(methods(), ["CreateSession", "CompleteSession", "CompleteSession"]);
});

test("a second factor's log-in goes into the cookie as well", async () => {
  const { session } = open({ keep: "cookie" });
  const asked = await session.logIn("ada@example.com", "guarded").catch((error: unknown) => error);
  await (asked as SecondFactorRequired).complete({ case: "totpCode", value: "123456" });
  await session.renew(toy.calls[0]?.token ?? "");
  assert.equal(session.state, "signed-in");
});

test("a confirmation gives another access token and keeps the refresh token", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  const before = await session.token();

  await assert.rejects(session.confirm({ case: "password", value: "wrong" }), { reason: "PROOF_WRONG" });
  assert.deepEqual(methods(), ["CreateSession", "ConfirmSession"]); // a wrong proof is not a token that ended
  await session.confirm({ case: "totpCode", value: "123456" });
  assert.notEqual(await session.token(), before);
  assert.equal((await mesh.auth.setRoles({})).userId, "u");
  valid.clear();
  await mesh.auth.getMe({});
  assert.equal(methods().at(-2), "RefreshSession");
});

test("calls that want a newer proof ask for it once, and are repeated", async () => {
  let asked = 0;
  const { session, mesh } = open({
    onStepUp: async () => {
      asked++;
      await session.confirm({ case: "totpCode", value: "123456" });
      return true;
    },
  });
  await session.logIn("ada@example.com", "right");

  const answers = await Promise.all([mesh.auth.setRoles({}), mesh.auth.setRoles({})]);
  assert.deepEqual(answers.map((one) => one.userId), ["u", "u"]);
  assert.equal(asked, 1);
  await mesh.auth.setRoles({});
  assert.equal(asked, 1);
});

test("a proof that nobody gives leaves the refusal, and nothing is repeated", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  await assert.rejects(mesh.auth.setRoles({}), { reason: "STEP_UP_REQUIRED" });
  session.onStepUp = () => Promise.resolve(false);
  await assert.rejects(mesh.auth.setRoles({}), { reason: "STEP_UP_REQUIRED" });
  session.onStepUp = () => Promise.resolve(true); // so it says; the mesh is not convinced, and is asked once more
  await assert.rejects(mesh.auth.setRoles({}), { reason: "STEP_UP_REQUIRED" });
  assert.equal(methods().filter((one) => one === "SetRoles").length, 4);
});

test("a token that expired in the middle is renewed once, for all calls that it failed", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  valid.clear();

  await Promise.all([mesh.auth.getMe({}), mesh.auth.getMe({}), collect(mesh.inference.generate({}))]);
  assert.equal(methods().filter((one) => one === "RefreshSession").length, 1);
  assert.equal(session.state, "signed-in");
});

test("a token is renewed before it ends, whatever this machine's clock says", async (t) => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  await mesh.auth.getMe({});
  assert.deepEqual(methods(), ["CreateSession", "GetMe"]);

  const later = Date.now() + 571_000;
  t.mock.method(Date, "now", () => later);
  await mesh.auth.getMe({});
  assert.deepEqual(methods().slice(2), ["RefreshSession", "GetMe"]);
});

test("a call whose new token is refused as well fails with the mesh's reason", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  toy.will(
    (call) => call.refuse(16, "no", [[ErrorInfoSchema, { reason: "CREDENTIAL_REVOKED" }]]),
    serve,
    (call) => call.refuse(16, "no", [[ErrorInfoSchema, { reason: "CREDENTIAL_REVOKED" }]]),
  );

  await assert.rejects(mesh.auth.getMe({}), { code: "UNAUTHENTICATED", reason: "CREDENTIAL_REVOKED" });
  assert.deepEqual(methods(), ["CreateSession", "GetMe", "RefreshSession", "GetMe"]);
});

test("a session that ended is told to listeners, and the call goes out without a credential", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  const seen: string[] = [];
  const stop = session.subscribe((one) => seen.push(one.state));
  valid.clear();
  issued = 99;

  await assert.rejects(mesh.auth.getMe({}), { reason: "CREDENTIAL_MISSING" });
  assert.deepEqual([session.state, session.user], ["signed-out", undefined]);
  stop();
  await session.logIn("ada@example.com", "right");
  assert.deepEqual(seen, ["signed-out"]);
});

test("a renewal that cannot be asked for leaves the session as it is", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  valid.clear();
  toy.will(serve, (call) => call.refuse(14, "away"), serve);

  // A write, which is not tried again.
  await assert.rejects(mesh.posts.likePost({ postId: "p" }), { code: "UNAVAILABLE" });
  assert.equal(session.state, "signed-in");
  assert.equal((await mesh.auth.getMe({})).userId, "u");
});

test("logging out ends it at the mesh; a failure to do so is not hidden", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  toy.will((call) => call.cut(), serve);
  await assert.rejects(session.logOut(), { code: "UNAVAILABLE" });
  assert.equal(session.state, "signed-in");

  await session.logOut();
  assert.deepEqual([session.state, valid.size], ["signed-out", 0]);
  await assert.rejects(mesh.auth.getMe({}), { reason: "CREDENTIAL_MISSING" });
  assert.equal(await session.restore(), undefined);
});

test("a token that is refused at the log-out is renewed, and the cookie's session ends", async () => {
  const { session } = open({ keep: "cookie" });
  await session.logIn("ada@example.com", "right");
  valid.clear();

  await session.logOut();
  assert.deepEqual(methods(), ["CreateSession", "DeleteSession", "RefreshSession", "DeleteSession"]);
  assert.deepEqual([session.state, valid.size], ["signed-out", 0]);
});

test("so it is where the renewal before the log-out had failed", async (t) => {
  const { session } = open({ keep: "cookie" });
  await session.logIn("ada@example.com", "right");
  valid.clear();
  const later = Date.now() + 601_000;
  t.mock.method(Date, "now", () => later);
  toy.will((call) => call.cut(), serve);

  await session.logOut();
  assert.deepEqual(methods().slice(1), ["RefreshSession", "DeleteSession", "RefreshSession", "DeleteSession"]);
  assert.deepEqual([session.state, valid.size], ["signed-out", 0]);
});

test("a session that cannot be ended is told, and forgotten here and in other tabs", async () => {
  const refusing = (call: Call) => call.refuse(16, "no", [[ErrorInfoSchema, { reason: "CREDENTIAL_REVOKED" }]]);
  const away = (call: Call) => call.cut();
  for (const script of [
    [refusing, away],
    [refusing, serve, away],
    [refusing, serve, refusing],
  ]) {
    const [one, two] = [open({ keep: "cookie" }), open({ keep: "cookie" })];
    toy.will(serve);
    await one.session.logIn("ada@example.com", "right");
    await becomes(two.session, "signed-in");
    toy.will(...script, serve);

    await assert.rejects(one.session.logOut(), {
      reason: "SESSION_STAYS_OPEN",
      message: /stays open until 2040-/,
      metadata: { open_until: "2040-01-01T00:00:00.000Z" },
    });
    assert.deepEqual([one.session.state, one.session.user], ["signed-out", undefined]);
    await becomes(two.session, "signed-out");
    one.session.close();
    two.session.close();
  }
});

test("a cookie whose session is over needs no end", async () => {
  const { session } = open({ keep: "cookie" });
  await session.logIn("ada@example.com", "right");
  valid.clear();
  issued = 0; // the toy takes no cookie

  await session.logOut();
  assert.deepEqual(methods(), ["CreateSession", "DeleteSession", "RefreshSession"]);
  assert.equal(session.state, "signed-out");
});

test("with a cookie, no refresh token is in memory, and the header against forgery goes along", async () => {
  const { session } = open({ keep: "cookie" });
  await session.logIn("ada@example.com", "right");
  await session.renew((await session.token()) as string);

  assert.equal(toy.calls[1]?.request(RefreshSessionRequestSchema).refreshToken, "");
  assert.deepEqual(
    toy.calls.map((call) => call.headers["x-csrf-protection"]),
    ["1", "1"],
  );
  await session.logOut();
  assert.equal(toy.calls[2]?.headers["x-csrf-protection"], "1");
});

test("a page that is loaded anew takes up the cookie's session; without one nobody is logged in", async () => {
  const nobody = open({ keep: "cookie" });
  assert.equal(await nobody.session.restore(), undefined);
  assert.equal(nobody.session.state, "signed-out");

  issued = 1;
  const somebody = open({ keep: "cookie" });
  assert.equal((await somebody.session.restore())?.displayName, "Ada");
  assert.equal(somebody.session.state, "signed-in");
});

test("restoring says so where the mesh is away, and calls wait for it", async () => {
  const { session, mesh } = open({ keep: "cookie" });
  toy.will((call) => call.refuse(14, "away"), serve);
  await assert.rejects(session.restore(), { code: "UNAVAILABLE" });
  assert.equal(session.state, "unknown");

  issued = 1;
  const restoring = session.restore();
  assert.equal((await mesh.auth.getMe({})).userId, "u");
  await restoring;
});

test("a call does not wait for a renewal longer than it may last", async () => {
  const { session, mesh } = open();
  await session.logIn("ada@example.com", "right");
  valid.clear();
  let release: (value?: unknown) => void = () => {};
  refreshGate = new Promise((resolve) => (release = resolve));

  await assert.rejects(mesh.auth.getMe({}, { timeoutMs: 100 }), { reason: "DEADLINE_PASSED" });
  const controller = new AbortController();
  const cancelled = mesh.auth.getMe({}, { signal: controller.signal });
  controller.abort();
  await assert.rejects(cancelled, { code: "CANCELLED" });
  release();
  await session.renew("");
});

test("a renewal that comes late brings no old session back", async () => {
  for (const change of ["logIn", "logOut"] as const) {
    const { session } = open();
    await session.logIn("ada@example.com", "right");
    const stale = (await session.token()) as string;
    let release: (value?: unknown) => void = () => {};
    refreshGate = new Promise((resolve) => (release = resolve));
    const renewal = session.renew(stale);

    if (change === "logIn") await session.logIn("bob@example.com", "right");
    else await session.logOut();
    const now = change === "logIn" ? await session.token() : undefined;
    const { state } = session;
    if (change === "logIn") issued--; // the toy still takes the old refresh token
    release();
    await renewal;
    assert.equal(session.state, state);
    assert.equal(await session.token(), now);
  }
});

/** Resolves when the session's state is the one named. */
const becomes = (session: Session, state: string) =>
  new Promise<void>((resolve) => {
    if (session.state === state) resolve();
    session.subscribe(() => session.state === state && resolve());
  });

test("two tabs share one session: log-in, one renewal for both, log-out", async () => {
  const [one, two] = [open({ keep: "cookie" }), open({ keep: "cookie" })];
  await one.session.logIn("ada@example.com", "right");
  await becomes(two.session, "signed-in");
  assert.equal(two.session.user?.displayName, "Ada");

  const stale = (await one.session.token()) as string;
  await Promise.all([one.session.renew(stale), two.session.renew(stale)]);
  // One renews; the other finds the new token, or renews after it, never at the same time.
  while ((await one.session.token()) !== (await two.session.token())) await new Promise(setImmediate);
  assert.notEqual(await one.session.token(), stale);

  await two.session.logOut();
  await becomes(one.session, "signed-out");
  assert.equal(one.session.user, undefined);
});

test("a key and a session at once are refused", () => {
  const { session } = open();
  assert.throws(() => createPromptmesh({ baseUrl: toy.url, session, apiKey: "pm_x" }), /createPromptmesh .* not both/);
  assert.throws(() => createAccounts({ baseUrl: toy.url, session, apiKey: "pm_x" }), /createAccounts .* not both/);
});
