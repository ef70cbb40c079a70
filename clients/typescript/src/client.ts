import { createServiceClient, type ServiceClient } from "./calls.js";
import { AccountService } from "./gen/promptmesh/auth/v1/accounts_pb.js";
import { AdministrationService } from "./gen/promptmesh/auth/v1/administration_pb.js";
import { AuditService } from "./gen/promptmesh/auth/v1/audit_pb.js";
import { AuthService } from "./gen/promptmesh/auth/v1/auth_pb.js";
import { FactorService } from "./gen/promptmesh/auth/v1/factors_pb.js";
import { FederationService } from "./gen/promptmesh/auth/v1/federation_pb.js";
import { OrganisationService } from "./gen/promptmesh/auth/v1/organisations_pb.js";
import { PlanService } from "./gen/promptmesh/auth/v1/plans_pb.js";
import { ConfigService, InferenceService } from "./gen/promptmesh/inference/v1/inference_pb.js";
import { LimitService } from "./gen/promptmesh/inference/v1/limits_pb.js";
import { ProviderKeyService } from "./gen/promptmesh/inference/v1/provider_keys_pb.js";
import { UsageService } from "./gen/promptmesh/inference/v1/usage_pb.js";
import { ModerationService, PolicyService } from "./gen/promptmesh/moderation/v1/moderation_pb.js";
import { PostService } from "./gen/promptmesh/prompts/v1/posts_pb.js";
import type { Session } from "./session.js";
import { createMeshTransport, type Credentials } from "./transport.js";

export interface PromptmeshOptions {
  /** Address of the edge, for example `https://mesh.example`; empty: the page's own origin. */
  readonly baseUrl: string;
  /** Whose session makes the calls. Without session and key, calls are anonymous. */
  readonly session?: Session;
  /** An API key, `pm_…`. Not in a browser: whoever opens the page could read it. */
  readonly apiKey?: string;
  /** What to use for HTTP; the platform's own by default. */
  readonly fetch?: typeof globalThis.fetch;
  /** Deadline of a unary call, its retries included: 30,000 ms by default, 0 for none. `CallOptions.timeoutMs` goes first. */
  readonly timeoutMs?: number;
}

/** The services of a mesh, with every method that a caller from outside has. */
export interface Promptmesh {
  readonly accounts: ServiceClient<typeof AccountService>;
  readonly administration: ServiceClient<typeof AdministrationService>;
  readonly audit: ServiceClient<typeof AuditService>;
  readonly auth: ServiceClient<typeof AuthService>;
  readonly factors: ServiceClient<typeof FactorService>;
  readonly federation: ServiceClient<typeof FederationService>;
  readonly organisations: ServiceClient<typeof OrganisationService>;
  readonly plans: ServiceClient<typeof PlanService>;
  readonly posts: ServiceClient<typeof PostService>;
  readonly inference: ServiceClient<typeof InferenceService>;
  readonly moderation: ServiceClient<typeof ModerationService>;
  readonly policy: ServiceClient<typeof PolicyService>;
  readonly usage: ServiceClient<typeof UsageService>;
  readonly config: ServiceClient<typeof ConfigService>;
  readonly limits: ServiceClient<typeof LimitService>;
  readonly providerKeys: ServiceClient<typeof ProviderKeyService>;
}

/** Makes the typed clients of a mesh. All calls fail with PromptmeshError. */
export function createPromptmesh(options: PromptmeshOptions): Promptmesh {
  const { session, apiKey } = options;
  if (session !== undefined && apiKey !== undefined) {
    throw new TypeError("createPromptmesh takes a session or an apiKey, not both: leave one of them out.");
  }
  const credentials: Credentials | undefined =
    session ?? (apiKey === undefined ? undefined : { token: () => Promise.resolve(apiKey) });
  const transport = createMeshTransport({ ...options, credentials });
  return {
    accounts: createServiceClient(AccountService, transport),
    administration: createServiceClient(AdministrationService, transport),
    audit: createServiceClient(AuditService, transport),
    auth: createServiceClient(AuthService, transport),
    factors: createServiceClient(FactorService, transport),
    federation: createServiceClient(FederationService, transport),
    organisations: createServiceClient(OrganisationService, transport),
    plans: createServiceClient(PlanService, transport),
    posts: createServiceClient(PostService, transport),
    inference: createServiceClient(InferenceService, transport),
    moderation: createServiceClient(ModerationService, transport),
    policy: createServiceClient(PolicyService, transport),
    usage: createServiceClient(UsageService, transport),
    config: createServiceClient(ConfigService, transport),
    limits: createServiceClient(LimitService, transport),
    providerKeys: createServiceClient(ProviderKeyService, transport),
  };
}
