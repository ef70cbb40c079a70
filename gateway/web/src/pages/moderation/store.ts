/* The queue of cases and one's decisions. A decision waits a moment, in which it can be taken back, and is then sent; the
   mesh takes the first decision of a case and refuses another, so that none is overwritten. */
import { batch, computed, signal } from "@preact/signals";
import { CaseState, createPromptmesh, PromptmeshError, Verdict, type Case, type PolicyVersion } from "@promptmesh/client";
import { isAbort, problemOf } from "../../components/problems";
import { api, session } from "../../state/api";
import { dropDraft, keepDraft, readDraft } from "../../state/drafts";
import { call, user } from "../../state/session";
import { toast } from "../../state/toasts";
import { VERDICTS } from "./words";

const PAGE_SIZE = 50;
/** So many cases before the end of what has been read, more are read. */
const AHEAD = 5;
/** How long a decision can be taken back. */
export const UNDO_MS = 5_000;

export interface Decision {
  one: Case;
  verdict: Verdict.ALLOW | Verdict.REJECT;
  note: string;
  publicReason: string;
}

/** Name of the decision that waits, among what is kept for the tab: a reload does not lose it. */
const KEPT = "decision";

/** Decisions are sent so that the browser sends them on when their page goes. */
const lasting = createPromptmesh({
  baseUrl: location.origin,
  session,
  fetch: (input, init) => fetch(input, { ...init, keepalive: true }),
});

export interface Filter {
  state: CaseState;
  /** A rule or `category:<number>`; empty: all. Of what has been read: the contract lists by state alone. */
  by: string;
}

export const filter = signal<Filter>({ state: CaseState.OPEN, by: "" });
export const cases = signal<Case[]>([]);
export const loaded = signal(false);
export const loading = signal(false);
export const error = signal<unknown>(undefined);
export const more = signal(false);
export const chosenId = signal("");
/** Decided and not yet sent. */
export const pending = signal<Decision | undefined>(undefined);
/** Decided by oneself since the page was opened. */
export const decidedCount = signal(0);
export const policy = signal<PolicyVersion | undefined>(undefined);
let token = "";
/** Who made it: nobody else sends it. */
let decider: string | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let reading = 0;

export const shown = computed(() => {
  const { by } = filter.value;
  const has = ({ findings }: Case) => findings.some((one) => one.rule === by || `category:${one.category}` === by);
  return by ? cases.value.filter(has) : cases.value;
});
export const chosen = computed(() => shown.value.find((one) => one.caseId === chosenId.value) ?? shown.value[0]);

/** The name of a case's unsent note. */
export const noteDraft = (caseId: string): string => `case-${caseId}`;

/** Reads the queue from its beginning. */
export async function open(next: Filter): Promise<void> {
  await sendKept();
  token = "";
  batch(() => {
    if (next.state !== filter.value.state) {
      cases.value = [];
      loaded.value = false;
    }
    filter.value = next;
  });
  await read((page) => (cases.value = page));
}

export const readMore = (): Promise<void> =>
  read((page) => {
    const known = new Set(cases.value.map(({ caseId }) => caseId));
    cases.value = [...cases.value, ...page.filter(({ caseId }) => !known.has(caseId))];
  });

async function read(take: (page: Case[]) => void): Promise<void> {
  const own = ++reading;
  loading.value = true;
  error.value = undefined;
  try {
    const { state } = filter.value;
    const answer = await call(() => api.moderation.listCases({ pageSize: PAGE_SIZE, pageToken: token, state }));
    if (own !== reading) return;
    batch(() => {
      const texts = new Map(cases.value.map(({ caseId, text }) => [caseId, text]));
      const whole = (one: Case) => ({ ...one, text: one.text || (texts.get(one.caseId) ?? "") });
      take(answer.cases.filter(({ caseId }) => caseId !== pending.value?.one.caseId).map(whole));
      token = answer.nextPageToken;
      more.value = token !== "";
      loaded.value = true;
    });
  } catch (failed) {
    if (own === reading && !isAbort(failed)) error.value = failed;
  } finally {
    if (own === reading) loading.value = false;
  }
}

/** Whether the text that was screened is still to be read: lists come without it. */
export const lacksText = ({ text, title, body }: Case): boolean => !text && Boolean(title || body);

/** Reads a case whole, and with it what has become of it: others decide too. */
export async function look({ caseId }: Case): Promise<void> {
  const fresh = await api.moderation.getCase({ caseId });
  const had = cases.value.find((one) => one.caseId === caseId);
  if (!had || (fresh.state === had.state && !lacksText(had))) return;
  cases.value = cases.value.map((one) => (one === had ? fresh : one));
}

/** Reads the case that comes next, so that it stands at once. */
export function lookAhead(): void {
  const list = shown.value;
  const next = list[list.findIndex(({ caseId }) => caseId === chosen.value?.caseId) + 1];
  // Where that fails it is read, and the error told, when it is its turn.
  if (next && lacksText(next)) look(next).catch(() => undefined);
}

/** Asks what has become of the case that is looked at, and what has come. */
export async function refresh(): Promise<void> {
  if (document.visibilityState !== "visible" || !loaded.value || loading.value) return;
  try {
    if (chosen.value) await look(chosen.value);
    if (filter.value.state !== CaseState.OPEN || more.value) return;
    const known = new Set(cases.value.map(({ caseId }) => caseId));
    const { cases: page, nextPageToken } = await api.moderation.listCases({ pageSize: PAGE_SIZE, state: CaseState.OPEN });
    if (nextPageToken) return;
    const gone = pending.value?.one.caseId;
    const come = page.filter(({ caseId }) => !known.has(caseId) && caseId !== gone);
    const still = new Set(page.map(({ caseId }) => caseId));
    // What others have decided leaves the list, but not from under the eyes of who looks at it.
    const looking = chosen.value?.caseId;
    const stay = cases.value.filter(({ caseId }) => still.has(caseId) || caseId === looking);
    if (come.length || stay.length !== cases.value.length) cases.value = [...stay, ...come];
  } catch {
    // The next time it may succeed; what is shown stands.
  }
}

export async function readPolicy(): Promise<void> {
  try {
    policy.value = await api.policy.getPolicy({});
  } catch {
    // Only a comparison is missing: cases name their own version.
  }
}

export function choose(caseId: string): void {
  chosenId.value = caseId;
}

/** Goes to the case `by` places on; answers whether there is one. */
export function step(by: number): boolean {
  const list = shown.value;
  const at = list.findIndex(({ caseId }) => caseId === chosen.value?.caseId) + by;
  const next = list[at];
  if (next) chosenId.value = next.caseId;
  readAhead(at);
  return next !== undefined;
}

function readAhead(at: number): void {
  if (more.value && !loading.value && shown.value.length - at <= AHEAD) void readMore();
}

/** Decides a case: the next one is shown, and this decision is sent once it cannot be taken back any more. */
export function decide(decision: Decision): void {
  void commit();
  decider = user.value?.userId;
  const list = shown.value;
  const at = list.findIndex(({ caseId }) => caseId === decision.one.caseId);
  const next = list[at + 1] ?? list[at - 1];
  batch(() => {
    chosenId.value = next?.caseId ?? "";
    cases.value = cases.value.filter(({ caseId }) => caseId !== decision.one.caseId);
    pending.value = decision;
    decidedCount.value++;
  });
  const { one, ...said } = decision;
  const kept: Kept = { one: { caseId: one.caseId, title: one.title }, ...said };
  keepDraft(KEPT, kept);
  timer = setTimeout(() => void commit(), UNDO_MS);
  readAhead(at);
}

/** What is kept of a decision: enough to send it. */
type Kept = Omit<Decision, "one"> & { one: Pick<Case, "caseId" | "title"> };

/** Sends what was decided before the page was loaded anew. It has mostly arrived already; a second time changes nothing. */
async function sendKept(): Promise<void> {
  const kept = readDraft<Kept>(KEPT);
  if (!kept || pending.value) return;
  try {
    if (await settle(kept)) toast(`“${kept.one.title}”: your decision is sent.`);
  } catch (failed) {
    toast(`“${kept.one.title}” is not decided. ${why(failed)}`, { kind: "problem" });
  }
  dropKept(kept.one.caseId);
}

function dropKept(caseId: string): void {
  if (readDraft<Kept>(KEPT)?.one.caseId === caseId) dropDraft(KEPT);
}

const why = (failed: unknown): string => (isAbort(failed) ? "Nobody is logged in." : problemOf(failed).text);

/** Takes the last decision back, if it has not been sent. */
export function undo(): void {
  const decision = pending.value;
  if (!decision) return;
  clearTimeout(timer);
  dropDraft(KEPT);
  batch(() => {
    pending.value = undefined;
    putBack(decision.one);
  });
}

function putBack(one: Case): void {
  // Ids are in order of time, which is the queue's.
  const others = cases.value.filter(({ caseId }) => caseId !== one.caseId);
  cases.value = [...others, one].sort((a, b) => (a.caseId < b.caseId ? -1 : 1));
  chosenId.value = one.caseId;
  decidedCount.value--;
}

/** Sends the decision that waits, now. Who leaves is not asked to log in for it. */
export async function commit({ leaving = false } = {}): Promise<void> {
  const decision = pending.value;
  if (!decision) return;
  clearTimeout(timer);
  pending.value = undefined;
  const { one } = decision;
  // Somebody else has logged in meanwhile; the case is open, and in their queue.
  if (user.value && user.value.userId !== decider) return dropKept(one.caseId);
  try {
    if (!(await settle(decision, leaving))) decidedCount.value--;
  } catch (failed) {
    putBack(one);
    toast(`“${one.title}” is not decided and is back in the queue. ${why(failed)}`, { kind: "problem" });
  }
  dropKept(one.caseId);
}

/** Sends a decision and answers whether it holds; where another's does, it says so. Throws where nothing is decided. */
async function settle({ one, verdict, note, publicReason }: Kept, leaving = false): Promise<boolean> {
  try {
    const request = { caseId: one.caseId, decision: verdict, note, publicReason };
    const send = () => lasting.moderation.resolveCase(request);
    const answer = await (leaving ? send() : call(send));
    dropDraft(noteDraft(one.caseId));
    if (answer.resolverId === user.value?.userId) return true;
    const lost = note || publicReason ? " What you wrote about it was not kept." : "";
    toast(`Another moderator had already ${VERDICTS[verdict].words.toLowerCase()} “${one.title}”.${lost}`, { kind: "problem" });
  } catch (failed) {
    if (!(failed instanceof PromptmeshError) || failed.reason !== "CASE_RESOLVED") throw failed;
    await overtaken(one, failed);
  }
  return false;
}

async function overtaken(one: Kept["one"], failed: PromptmeshError): Promise<void> {
  dropDraft(noteDraft(one.caseId));
  let what = failed.message;
  try {
    const now = await api.moderation.getCase({ caseId: one.caseId });
    if (now.state === CaseState.RESOLVED) {
      const noting = now.note ? `, noting “${now.note}”` : "";
      what = `Another moderator had already ${VERDICTS[now.decision].words.toLowerCase()} it${noting}.`;
    } else if (now.state === CaseState.OBSOLETE) what = "Its post was edited or deleted, so it needs no decision.";
  } catch {
    // The refusal's own words say enough.
  }
  toast(`Your decision about “${one.title}” did not count. ${what}`, { kind: "problem" });
}
