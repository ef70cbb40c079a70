/**
 * Errors.
 *
 *     PromptmeshError      everything that a call can fail with
 *     └── StreamCutError   a stream that ended without its terminal event
 */
import { fromBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema, type Status } from "./gen/google/rpc/status_pb.js";
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
  /** Logged out here, while the cookie's session lives on: the mesh could not be asked to end it. */
  | "SESSION_STAYS_OPEN"
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

/** No answer came, or not all of it. */
export function connectionFailed(requestId: string, cause?: unknown): PromptmeshError {
  return new PromptmeshError({
    code: "UNAVAILABLE",
    reason: "CONNECTION_FAILED",
    message: "The server could not be reached, or its answer broke off. Check the network, then try again.",
    requestId,
    cause,
  });
}

/** The session of the cookie could not be ended. untilMs: when it ends by itself, by the mesh's clock. */
export function sessionStaysOpen(untilMs: number | undefined, cause?: unknown): PromptmeshError {
  const until = untilMs ? `until ${new Date(untilMs).toISOString()}` : "until it expires";
  return new PromptmeshError({
    code: "UNAVAILABLE",
    reason: "SESSION_STAYS_OPEN",
    message: `Logged out here, but the server could not be reached: the session stays open ${until}. Log in and out again to end it.`,
    metadata: untilMs ? { open_until: new Date(untilMs).toISOString() } : {},
    cause,
  });
}

/** The request does not fit its message. */
export function requestUnsendable(cause: unknown): PromptmeshError {
  const message = `The request cannot be sent: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new PromptmeshError({ code: "INVALID_ARGUMENT", reason: "REQUEST_UNSENDABLE", message, cause });
}

/** The answer does not fit its message. */
export function answerUnreadable(requestId: string, why: string): PromptmeshError {
  const message = `The answer cannot be read: ${why}. Is this client older than the mesh?`;
  return new PromptmeshError({ code: "INTERNAL", reason: "UNEXPECTED", message, requestId });
}

/** The code of an HTTP answer that is not gRPC's: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
const HTTP_CODES: Readonly<Record<number, StatusCode>> = {
  400: "INTERNAL",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "UNIMPLEMENTED",
  429: "UNAVAILABLE",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "UNAVAILABLE",
};

/** Something other than the mesh answered: a proxy, or another server at the address. */
export function errorFromHttp(status: number, headers: Headers): PromptmeshError {
  return new PromptmeshError({
    code: HTTP_CODES[status] ?? "UNKNOWN",
    reason: "UNEXPECTED",
    message: `HTTP ${status} came instead of an answer of the mesh. Is baseUrl the address of its edge?`,
    retryAfterMs: headerSeconds(headers),
    requestId: headers.get("x-request-id") ?? "",
  });
}

/** The error that the mesh answered with, from trailers, or from headers where there was nothing else. */
export function errorFromStatus(number: number, headers: Headers, requestId: string): PromptmeshError {
  const status = statusDetails(headers);
  const info = detail(status, ErrorInfoSchema);
  const quota = detail(status, QuotaFailureSchema);
  const delay = detail(status, RetryInfoSchema)?.retryDelay;
  const code = statusCode(number);
  return new PromptmeshError({
    code,
    reason: info?.reason || "UNEXPECTED",
    message: status?.message || percentDecoded(headers.get("grpc-message") ?? "") || `The mesh answered ${code}.`,
    violations: (detail(status, BadRequestSchema)?.fieldViolations ?? []).map(({ field, description }) => ({
      field,
      description,
    })),
    retryAfterMs: delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : headerSeconds(headers),
    quota: quota?.violations.map(({ subject, description }) => ({ subject, description })),
    requestId: detail(status, RequestInfoSchema)?.requestId || requestId,
    metadata: info ? { ...info.metadata } : {},
  });
}

function statusDetails(headers: Headers): Status | undefined {
  try {
    const encoded = headers.get("grpc-status-details-bin");
    return encoded ? fromBinary(StatusSchema, base64Decode(encoded)) : undefined;
  } catch {
    return undefined; // the code says enough
  }
}

function detail<T extends DescMessage>(status: Status | undefined, schema: T): MessageShape<T> | undefined {
  const found = status?.details.find((one) => one.typeUrl.endsWith(`/${schema.typeName}`));
  try {
    return found && fromBinary(schema, found.value);
  } catch {
    return undefined;
  }
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function headerSeconds(headers: Headers): number | undefined {
  const seconds = Number(headers.get("retry-after") ?? "");
  return seconds > 0 ? seconds * 1000 : undefined;
}
