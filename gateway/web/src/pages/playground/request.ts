/* What is asked of a model: from the fields as they were typed to the request, and what is wrong with them. */
import { MessageRole } from "@promptmesh/client";

export type Role = "system" | "user" | "assistant";

export interface Said {
  role: Role;
  content: string;
}

/** Only what is set is here, and only that is sent. `seed` is an int64, so text. */
export interface Sampling {
  temperature?: number;
  topP?: number;
  maxOutputTokens?: number;
  stop?: string[];
  seed?: string;
}

/** A call as it was made: plain values, so that it can be kept and written down in other languages. */
export interface Asked {
  model: string;
  messages: Said[];
  sampling: Sampling;
}

/** The fields as they were typed; empty: not set. */
export interface Parameters {
  temperature: string;
  topP: string;
  maxOutputTokens: string;
  stop: string;
  seed: string;
}

export type ParameterErrors = Partial<Record<keyof Parameters, string>>;

export const NO_PARAMETERS: Parameters = { temperature: "", topP: "", maxOutputTokens: "", stop: "", seed: "" };

// Bounds of inference.proto's Sampling.
const TEMPERATURE_MAX = 2;
const OUTPUT_TOKENS_MAX = 1_000_000;
const STOPS_MAX = 4;
const STOP_CHARACTERS_MAX = 64;
const SEED_MAX = 2n ** 63n - 1n;

const ESCAPES: Record<string, string> = { "\\n": "\n", "\\t": "\t", "\\\\": "\\" };

/** Texts to stop at: one a line; `\n`, `\t` and `\\` stand for a new line, a tab and a backslash. */
export const stopsOf = (text: string): string[] =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replace(/\\[nt\\]/g, (found) => ESCAPES[found]!));

function numberIn(text: string, least: number, most: number, whole = false): number | string | undefined {
  const typed = text.trim();
  if (!typed) return undefined;
  const value = Number(typed);
  const fits = Number.isFinite(value) && value >= least && value <= most && (!whole || Number.isInteger(value));
  return fits ? value : `Enter a ${whole ? "whole " : ""}number from ${least} to ${most.toLocaleString("en")}.`;
}

/** The parameters that are set, or what is wrong with each. */
export function samplingOf(typed: Parameters): { sampling: Sampling; errors: ParameterErrors } {
  const sampling: Sampling = {};
  const errors: ParameterErrors = {};
  const take = (key: "temperature" | "topP" | "maxOutputTokens", value: number | string | undefined) => {
    if (typeof value === "string") errors[key] = value;
    else if (value !== undefined) sampling[key] = value;
  };
  take("temperature", numberIn(typed.temperature, 0, TEMPERATURE_MAX));
  take("topP", numberIn(typed.topP, 0, 1));
  take("maxOutputTokens", numberIn(typed.maxOutputTokens, 1, OUTPUT_TOKENS_MAX, true));
  const stop = stopsOf(typed.stop);
  if (stop.length > STOPS_MAX) errors.stop = `Enter at most ${STOPS_MAX} texts, one a line.`;
  else if (stop.some((one) => [...one].length > STOP_CHARACTERS_MAX))
    errors.stop = `A text has at most ${STOP_CHARACTERS_MAX} characters.`;
  else if (stop.length) sampling.stop = stop;
  const seed = typed.seed.trim();
  if (seed && !(/^-?\d{1,19}$/.test(seed) && BigInt(seed) <= SEED_MAX && BigInt(seed) >= -SEED_MAX - 1n))
    errors.seed = "Enter a whole number of at most 64 bits.";
  else if (seed) sampling.seed = BigInt(seed).toString();
  return { sampling, errors };
}

/** Halves of characters, which a text field can be made to hold, cannot be sent. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "\uFFFD");

const ROLES: Record<Role, MessageRole> = {
  system: MessageRole.SYSTEM,
  user: MessageRole.USER,
  assistant: MessageRole.ASSISTANT,
};

/** The request itself. */
export function requestOf({ model, messages, sampling }: Asked) {
  const { seed, ...rest } = sampling;
  return {
    model,
    messages: messages.map(({ role, content }) => ({ role: ROLES[role], content })),
    ...(Object.keys(sampling).length > 0 && { sampling: { ...rest, ...(seed !== undefined && { seed: BigInt(seed) }) } }),
  };
}
