/* Why a call failed, in words, and when it can be made again. Plain values: a conversation is kept for the tab. */
import { PromptmeshError } from "@promptmesh/client";
import { problemOf } from "../../components/problems";

export interface Failure {
  title: string;
  text: string;
  /** What else was said: fields that break a rule, limits that are used up. */
  details: string[];
  requestId: string;
  /** When it may be tried again, in milliseconds of Date.now(). */
  retryAt?: number;
}

const TITLES: Record<string, string> = {
  LIMIT_REACHED: "A limit is reached",
  BUDGET_EXHAUSTED: "The budget is used up",
  CONCURRENCY_LIMIT: "As many calls run as are allowed",
  RATE_LIMITED: "Too many calls in a short time",
  PROVIDER_RATE_LIMITED: "The provider limits us",
  CONTENT_REFUSED: "The content was refused",
  PROVIDER_CONTENT_REFUSED: "The provider refused the content",
  PROVIDER_REJECTED: "The provider refused the request",
  PROVIDER_UNAVAILABLE: "The provider is away",
  PROVIDER_TIMEOUT: "The provider did not answer in time",
  PROVIDER_CREDENTIAL_REFUSED: "The provider refused our credential",
  PROVIDER_ANSWER_BROKEN: "The provider's answer broke off",
  STREAM_CUT: "The connection broke off",
  CONNECTION_FAILED: "The server cannot be reached",
  CONTEXT_LENGTH_EXCEEDED: "The conversation is too long for this model",
  MODEL_NOT_FOUND: "This model is not on offer",
  PRICE_UNKNOWN: "This model has no known price",
  INVALID_FIELD: "Something in the request is not allowed",
  CREDENTIAL_REVOKED: "Your session was ended",
  OVERLOADED: "The mesh is busy",
};

export function failureOf(error: unknown, now: number): Failure {
  if (!(error instanceof PromptmeshError)) {
    return { title: "Something went wrong", text: problemOf(error).text, details: [], requestId: "" };
  }
  const fields = error.violations.map(({ field, description }) => `${field}: ${description}`);
  const limits = (error.quota ?? []).map(({ description }) => description).filter((one) => !error.message.includes(one));
  return {
    title: TITLES[error.reason] ?? "The call failed",
    // How long to wait stands in its own words, which count down.
    text: /[.!?]$/.test(error.message) ? error.message : `${error.message}.`,
    details: [...fields, ...limits],
    requestId: error.requestId,
    ...(error.retryAfterMs !== undefined && { retryAt: now + error.retryAfterMs }),
  };
}

/** Whether what came before it is part of an answer that should have gone on. */
export const brokeOff = (error: unknown): boolean =>
  error instanceof PromptmeshError && ["STREAM_CUT", "CONNECTION_FAILED", "PROVIDER_ANSWER_BROKEN"].includes(error.reason);
