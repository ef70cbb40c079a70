/* Who is logged in. The access token stays in the client's memory, the refresh token in a cookie that no script reads;
   tabs tell one another when that changes. */
import { computed, signal } from "@preact/signals";
import { PromptmeshError, Role, SecondFactorRequired, type User } from "@promptmesh/client";
import { session } from "./api";
import { claimDrafts, dropDrafts } from "./drafts";

export type Who =
  /** Not known yet: the cookie is being asked. */
  | { state: "restoring"; user: undefined }
  | { state: "anonymous"; user: undefined }
  | { state: "in"; user: User }
  /** The session ended under a person who is still here: their page stays, a dialog asks to log in again. */
  | { state: "expired"; user: User };

const set = signal<Who>({ state: "restoring", user: undefined });

export const who = computed(() => set.value);
export const user = computed(() => set.value.user);

export const isAdmin = computed(() => has(Role.ADMIN));
export const isAuditor = computed(() => has(Role.AUDITOR) || isAdmin.value);
export const isModerator = computed(() => has(Role.MODERATOR) || isAdmin.value);
const has = (role: Role): boolean => user.value?.roles.includes(role) ?? false;

// The client tells tabs of new tokens; this tells them that somebody left on purpose, so that nothing of theirs stays.
const tabs = new BroadcastChannel("promptmesh-left");
let leaving = false;

/** The organisation that calls act for; empty: nobody is in. */
export const actingFor = signal("");

/** Asks the cookie who is here, and from then on follows the client's session, which follows the other tabs. */
export async function startSession(): Promise<void> {
  session.subscribe(follow);
  tabs.onmessage = clear;
  try {
    await session.restore();
  } catch {
    // The server cannot be reached: the pages say so themselves.
  }
  follow();
}

function follow(): void {
  const next = session.user;
  actingFor.value = session.orgId;
  const was = set.value;
  if (next && was.user && was.user.userId !== next.userId) handOver();
  else if (next) {
    claimDrafts(next.userId);
    set.value = { state: "in", user: next };
    settle();
  } else if (was.user && !leaving) set.value = { state: "expired", user: was.user };
  else if (was.state !== "anonymous") set.value = { state: "anonymous", user: undefined };
}

function clear(): void {
  set.value = { state: "anonymous", user: undefined };
  dropDrafts();
}

/** Somebody else logged in over the page: what waits, was typed or is shown here was the former one's, and goes. */
function handOver(): void {
  giveUpLogIn();
  clear();
  // Nobody is asked whether to leave what is not theirs.
  addEventListener("beforeunload", (event) => event.stopImmediatePropagation(), { capture: true });
  location.reload();
}

async function orSecondFactor(work: () => Promise<unknown>): Promise<SecondFactorRequired | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof SecondFactorRequired) return error;
    throw error;
  }
}

/** Logs in. Answers what has still to be proved, if anything has. */
export const logIn = (email: string, password: string): Promise<SecondFactorRequired | undefined> =>
  orSecondFactor(() => session.logIn(email, password));

export const register = async (email: string, password: string, displayName: string): Promise<void> =>
  void (await session.register(email, password, displayName));

/** Throws where the server cannot be asked. One then stays logged in, unless the reason is SESSION_STAYS_OPEN. */
export async function logOut(): Promise<void> {
  leaving = true;
  try {
    await session.logOut();
  } finally {
    if (!session.user) {
      clear();
      tabs.postMessage("left");
    }
    leaving = false;
  }
}

/** Why the log-in dialog is open; undefined when it is not. */
export const loginAsked = signal<string | undefined>(undefined);
let waiting: { done: () => void; given: (error: unknown) => void }[] = [];

/** Opens the log-in dialog over the page. Resolves once somebody is in; rejects with an AbortError if they close it. */
export function askToLogIn(reason: string): Promise<void> {
  loginAsked.value ??= reason;
  return new Promise((done, given) => waiting.push({ done, given }));
}

export function giveUpLogIn(): void {
  loginAsked.value = undefined;
  const all = waiting;
  waiting = [];
  for (const one of all) one.given(new DOMException("The log-in was closed.", "AbortError"));
}

function settle(): void {
  loginAsked.value = undefined;
  const all = waiting;
  waiting = [];
  for (const one of all) one.done();
}

/** Whether the call was refused for want of a session, and not for what it brought: a wrong password, a wrong code. */
export const sessionEnded = (error: unknown): boolean =>
  error instanceof PromptmeshError && error.code === "UNAUTHENTICATED" && !ABOUT_THE_REQUEST.has(error.reason);

const ABOUT_THE_REQUEST = new Set<string>(["LOGIN_FAILED", "PROOF_WRONG"]);

/** Runs what needs a person. Where nobody is in, or their session has ended, it asks to log in and runs it again. */
export async function call<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    // A wrong password is the log-in form's own to tell; everything else waits for the one dialog, however many ask.
    if (!sessionEnded(error)) throw error;
    await askToLogIn(
      user.value
        ? "Your session has ended. Log in again and we go on where you were; nothing you typed is lost."
        : "Log in to do this.",
    );
    return run();
  }
}
