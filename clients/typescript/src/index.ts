/**
 * The client of Promptmesh.
 *
 * `createPromptmesh` makes typed clients of the services (`@promptmesh/client/accounts` has those of accounts and
 * administration), `Session` logs people in and keeps them logged in, `watchFeed` and `watchPost` resume by themselves,
 * `pages` iterates lists. Messages, enums and schemas are exported by their names.
 */
export { createPromptmesh, type Promptmesh } from "./client.js";
export type { PromptmeshOptions } from "./options.js";
export {
  SecondFactorRequired,
  Session,
  type ProofInit,
  type ProviderAnswer,
  type ProviderLogIn,
  type SessionOptions,
  type SessionState,
  type StepUp,
} from "./session.js";
export { createPasskey, getPasskey, hasPasskeys } from "./passkeys.js";
export {
  PromptmeshError,
  StreamCutError,
  type ClientReason,
  type FieldViolation,
  type QuotaViolation,
  type StatusCode,
} from "./errors.js";
export { watchFeed, watchPost, type WatchOptions, type WatchState } from "./watch.js";
export { pages } from "./pages.js";
export { newRequestId } from "./request_id.js";
export { applyExampleDelta } from "./examples.js";
export type { Reason } from "./gen/reasons.js";
export type { CallOptions } from "./transport.js";
export type { ServiceClient } from "./calls.js";
export { create, fromJson, toJson } from "@bufbuild/protobuf";
export { timestampDate, timestampFromDate, type Timestamp } from "@bufbuild/protobuf/wkt";

// The contracts. `Session` above is the client's; the message of that name is the pair of tokens behind it.
export type { Session as SessionTokens } from "./gen/promptmesh/auth/v1/auth_pb.js";
// Two contracts name an enum `Surface`: what a text is (moderation), and through which API a call came (receipts).
export { Surface, SurfaceSchema } from "./gen/promptmesh/moderation/v1/moderation_pb.js";
export { Surface as ReceiptSurface } from "./gen/promptmesh/inference/v1/receipt_pb.js";
export * from "./gen/promptmesh/access/v1/access_pb.js";
export * from "./gen/promptmesh/auth/v1/auth_pb.js";
export * from "./gen/promptmesh/inference/v1/inference_pb.js";
export * from "./gen/promptmesh/inference/v1/limits_pb.js";
export * from "./gen/promptmesh/inference/v1/provider_keys_pb.js";
export * from "./gen/promptmesh/inference/v1/receipt_pb.js";
export * from "./gen/promptmesh/inference/v1/usage_pb.js";
export * from "./gen/promptmesh/moderation/v1/moderation_pb.js";
export * from "./gen/promptmesh/prompts/v1/posts_pb.js";
