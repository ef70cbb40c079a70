/**
 * Errors.
 *
 *     PromptmeshError      everything that a call can fail with
 *     └── StreamCutError   a stream that ended without its terminal event
 */
import { ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { Reason } from "./gen/reasons.js";

/** Names of gRPC's status codes, by number. */
const STATUS_CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A gRPC status code by name. */
export type StatusCode = (typeof STATUS_CODES)[number];

/** Reasons that this client gives where the mesh gave none. */
export type ClientReason =
  /** No answer came: no network, no server, or the connection broke before the answer was whole. */
  | "CONNECTION_FAILED"
  /** A stream ended without its terminal event. */
  | "STREAM_CUT"
  /** The call's deadline passed here. */
  | "DEADLINE_PASSED"
  /** The caller's AbortSignal ended the call. */
  | "CANCELLED"
  /** The request cannot be encoded, for example a fraction in a whole number's place. */
  | "REQUEST_UNSENDABLE"
  /** A page named its own token as the next one. */
  | "PAGE_TOKEN_REPEATED"
  /** An answer without a reason, from something between here and the mesh. */
  | "UNEXPECTED";

/** A field of the request that breaks a rule; `field` is its path in proto names: `post.tags[2]`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** A limit that is used up. */
export interface QuotaViolation {
  readonly subject: string;
  readonly description: string;
}

/** What an error is made from. */
export interface ErrorParts {
  readonly code: StatusCode;
  readonly reason: Reason | ClientReason | (string & {});
  readonly message: string;
  readonly violations?: readonly FieldViolation[];
  readonly retryAfterMs?: number | undefined;
  readonly quota?: readonly QuotaViolation[] | undefined;
  readonly requestId?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** A call that failed. `message` is made for people: what happened, what is allowed, what to do next. */
export class PromptmeshError extends Error {
  override name = "PromptmeshError";
  /** gRPC's status: the kind of failure. */
  readonly code: StatusCode;
  /** Why exactly: one of `promptmesh.errors.v1.Reason`, or of `ClientReason`. */
  readonly reason: Reason | ClientReason | (string & {});
  /** The fields that break a rule, with INVALID_FIELD. */
  readonly violations: readonly FieldViolation[];
  /** How long to wait before the next try, where the mesh said so. */
  readonly retryAfterMs?: number;
  /** The limits that are used up, where that is the reason. */
  readonly quota?: readonly QuotaViolation[];
  /** Finds the call in the mesh's logs; empty where no answer came. */
  readonly requestId: string;
  /** What the mesh added to the reason, for programs. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(parts: ErrorParts) {
    super(parts.message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.code = parts.code;
    this.reason = parts.reason;
    this.violations = parts.violations ?? [];
    if (parts.retryAfterMs !== undefined) this.retryAfterMs = parts.retryAfterMs;
    if (parts.quota !== undefined && parts.quota.length > 0) this.quota = parts.quota;
    this.requestId = parts.requestId ?? "";
    this.metadata = parts.metadata ?? {};
  }
}

/** A stream ended without its terminal event: what came is not all of it. A watch can be resumed, an answer cannot. */
export class StreamCutError extends PromptmeshError {
  override name = "StreamCutError";

  constructor(requestId: string, cause?: unknown) {
    super({
      code: "UNAVAILABLE",
      reason: "STREAM_CUT",
      message: "The stream broke off before its end. What arrived is incomplete; try again.",
      requestId,
      cause,
    });
  }
}

/** The error for a status number of google.rpc.Code, as streams carry it in their events. */
export function statusCode(number: number): StatusCode {
  return STATUS_CODES[number] ?? "UNKNOWN";
}

/** The caller's AbortSignal ended the call. */
export function cancelled(cause?: unknown): PromptmeshError {
  return new PromptmeshError({ code: "CANCELLED", reason: "CANCELLED", message: "The call was cancelled.", cause });
}

/** The call's deadline passed. */
export function deadlinePassed(cause?: unknown): PromptmeshError {
  return new PromptmeshError({
    code: "DEADLINE_EXCEEDED",
    reason: "DEADLINE_PASSED",
    message: "No answer came in time. Whether the call took effect is not known; look, then try again.",
    cause,
  });
}

/** How far a call got, which says what a broken answer means. */
export interface Progress {
  /** Whether the request left. */
  sent: boolean;
  /** The request id in the answer's headers, once they are there. */
  requestId: string;
}

/** Any failure of a call as a PromptmeshError. */
export function errorFrom(caught: unknown, progress: Progress): PromptmeshError {
  if (caught instanceof PromptmeshError) return caught;
  const error = ConnectError.from(caught);
  const code = statusCode(error.code);
  const requestId = error.metadata.get("x-request-id") ?? progress.requestId;
  const fromMesh = error.metadata.has("grpc-status");
  if (!fromMesh) {
    if (code === "CANCELLED") return cancelled(caught);
    if (code === "DEADLINE_EXCEEDED") return deadlinePassed(caught);
    if (!progress.sent) {
      const message = `The request cannot be sent: ${error.rawMessage}`;
      return new PromptmeshError({ code: "INVALID_ARGUMENT", reason: "REQUEST_UNSENDABLE", message, cause: caught });
    }
    if (error.metadata.keys().next().done) return connectionFailed(requestId, caught);
  }
  const [info] = error.findDetails(ErrorInfoSchema);
  const [bad] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  const [quota] = error.findDetails(QuotaFailureSchema);
  const [request] = error.findDetails(RequestInfoSchema);
  const delay = retry?.retryDelay;
  return new PromptmeshError({
    code,
    reason: info?.reason || "UNEXPECTED",
    message: error.rawMessage || `The mesh answered ${code}.`,
    violations: (bad?.fieldViolations ?? []).map(({ field, description }) => ({ field, description })),
    retryAfterMs: delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : headerSeconds(error.metadata),
    quota: quota?.violations.map(({ subject, description }) => ({ subject, description })),
    requestId: request?.requestId || requestId,
    metadata: info ? { ...info.metadata } : {},
    cause: caught,
  });
}

function connectionFailed(requestId: string, cause: unknown): PromptmeshError {
  return new PromptmeshError({
    code: "UNAVAILABLE",
    reason: "CONNECTION_FAILED",
    message: "The server could not be reached, or its answer broke off. Check the network, then try again.",
    requestId,
    cause,
  });
}

function headerSeconds(headers: Headers): number | undefined {
  const seconds = Number(headers.get("retry-after") ?? "");
  return seconds > 0 ? seconds * 1000 : undefined;
}
