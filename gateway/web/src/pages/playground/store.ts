/* The conversation and its settings: kept for the tab, whether the page is left or loaded anew. */
import { signal } from "@preact/signals";
import { ModelKind, pages, type Model } from "@promptmesh/client";
import { api } from "../../state/api";
import { keepDraft, readDraft } from "../../state/drafts";
import { call, user } from "../../state/session";
import { NO_PARAMETERS, samplingOf, wellFormed, type Asked, type ParameterErrors, type Parameters, type Said } from "./request";
import { newRun, perform, type Run } from "./run";

export interface Turn {
  id: number;
  role: "user" | "assistant";
  text: string;
  /** Of the model's turns: the call that it came from. */
  run?: Run;
}

export interface Conversation {
  /** Whose it is: nobody finds that of whoever used the tab before. */
  owner: string;
  model: string;
  system: string;
  turns: Turn[];
  /** The next message, as far as it is written. */
  next: string;
  parameters: Parameters;
  markdown: boolean;
}

const DRAFT = "playground";
const PAGE_SIZE = 200;
const EMPTY: Conversation = { owner: "", model: "", system: "", turns: [], next: "", parameters: NO_PARAMETERS, markdown: true };

export const conversation = signal<Conversation>(EMPTY);
export const models = signal<Model[] | undefined>(undefined);
export const modelsError = signal<unknown>(undefined);
/** The turn that is being written. */
export const running = signal<number | undefined>(undefined);
export const parameterErrors = signal<ParameterErrors>({});
let controller: AbortController | undefined;

function restored(): Conversation {
  const owner = user.value?.userId ?? "";
  const draft = readDraft<Conversation>(DRAFT);
  const kept = { ...EMPTY, ...(draft?.owner === owner && draft), owner };
  // What was under way when the page went was ended with it.
  const turns = kept.turns.map((turn) =>
    turn.run?.state === "running" ? { ...turn, run: { ...turn.run, state: "stopped" as const } } : turn,
  );
  return { ...kept, turns };
}

/** Takes up what was kept. */
export const reopen = (): void => void (conversation.value = restored());

/** An answer may go on after its owner has logged out: then nothing is kept any more. */
export function keep(): void {
  if (conversation.value.owner === (user.value?.userId ?? "")) keepDraft(DRAFT, conversation.value);
}

export function change(changes: Partial<Conversation>): void {
  conversation.value = { ...conversation.value, ...changes };
  keep();
}

export function setParameter(key: keyof Parameters, value: string): void {
  change({ parameters: { ...conversation.value.parameters, [key]: value } });
  if (parameterErrors.value[key]) parameterErrors.value = samplingOf(conversation.value.parameters).errors;
}

export const editTurn = (id: number, text: string): void =>
  change({ turns: conversation.value.turns.map((turn) => (turn.id === id ? { ...turn, text } : turn)) });

export const removeTurn = (id: number): void =>
  change({ turns: conversation.value.turns.filter((turn) => turn.id !== id) });

/** Empties the conversation; answers what brings it back. */
export function clear(): () => void {
  const { turns, system, next } = conversation.value;
  stop();
  change({ turns: [], system: "", next: "" });
  return () => change({ turns, system, next });
}

export async function readModels(signal: AbortSignal): Promise<void> {
  modelsError.value = undefined;
  try {
    const all: Model[] = [];
    const list = pages((request: { pageSize: number }) => call(() => api.inference.listModels(request, { signal })), {
      pageSize: PAGE_SIZE,
    });
    for await (const page of list) all.push(...page.models.filter((one) => one.kind !== ModelKind.EMBEDDING)); // vectors are nothing to talk to
    models.value = all;
    const { model } = conversation.value;
    if (all.length && !all.some((one) => one.name === model)) {
      change({ model: (all.find((one) => one.isDefault) ?? all[0]!).name });
    }
  } catch (error) {
    if (!signal.aborted) modelsError.value = error;
  }
}

/** Puts a post's prompt in place of the conversation; answers what brings that back, where there was one. */
export async function loadPost(postId: string, signal: AbortSignal): Promise<(() => void) | undefined> {
  const post = await api.posts.getPost({ postId }, { signal });
  const before = conversation.value;
  const busy = before.turns.length > 0 || before.system !== "" || before.next !== "";
  const undo = clear();
  change({ next: post.body });
  return busy ? undo : undefined;
}

/** The call as it would be made now. */
export function asked(upTo: Turn[] = conversation.value.turns, next = conversation.value.next): Asked {
  const { model, system, parameters } = conversation.value;
  const messages: Said[] = [
    ...(system.trim() ? [{ role: "system" as const, content: system }] : []),
    ...upTo.filter(({ text }) => text).map(({ role, text }) => ({ role, content: text })),
    ...(next.trim() ? [{ role: "user" as const, content: next }] : []),
  ];
  const sound = messages.map(({ role, content }) => ({ role, content: wellFormed(content) }));
  return { model, messages: sound, sampling: samplingOf(parameters).sampling };
}

/** The call that was made last, or undefined. */
export const lastAsked = (): Asked | undefined => conversation.value.turns.findLast((turn) => turn.run)?.run?.asked;

export type Refused = "parameters" | "message" | undefined;

/** Sends what is written; answers what is wrong with it, if anything. */
export function send(): Refused {
  if (running.value !== undefined) return undefined;
  const { turns, next, parameters } = conversation.value;
  const { errors } = samplingOf(parameters);
  parameterErrors.value = errors;
  if (Object.keys(errors).length) return "parameters";
  // Answers of which nothing came are no part of the conversation.
  const kept = turns.filter((turn) => turn.text);
  if (next.trim()) kept.push({ id: newId(), role: "user", text: next });
  else if (kept.at(-1)?.role !== "user") return "message";
  void answer(kept);
  return undefined;
}

/** Asks again what an answer was the answer to; it and what follows make room. */
export function again(id: number): Refused {
  const { turns, parameters } = conversation.value;
  const { errors } = samplingOf(parameters);
  parameterErrors.value = errors;
  if (Object.keys(errors).length) return "parameters";
  const before = turns.slice(0, turns.findIndex((turn) => turn.id === id)).filter((turn) => turn.text);
  if (running.value === undefined && before.at(-1)?.role === "user") void answer(before, conversation.value.next);
  return undefined;
}

export function stop(): void {
  controller?.abort();
}

const newId = (): number => Math.max(0, ...conversation.value.turns.map(({ id }) => id)) + 1;

async function answer(turns: Turn[], next = ""): Promise<void> {
  const id = Math.max(newId(), ...turns.map((turn) => turn.id + 1));
  const request = asked(turns, "");
  change({ turns: [...turns, { id, role: "assistant", text: "", run: newRun(request) }], next });
  running.value = id;
  const own = (controller = new AbortController());
  await perform(request, own.signal, (run) => {
    const all = conversation.value.turns.map((turn) => (turn.id === id ? { ...turn, text: run.text, run } : turn));
    const changed = { ...conversation.value, turns: all };
    if (run.state === "running") conversation.value = changed;
    else change(changed);
  });
  if (running.value === id) running.value = undefined;
  if (controller === own) controller = undefined;
}
