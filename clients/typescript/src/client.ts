import { createServiceClient, type ServiceClient } from "./calls.js";
import { AuthService } from "./gen/promptmesh/auth/v1/auth_pb.js";
import { ConfigService, InferenceService } from "./gen/promptmesh/inference/v1/inference_pb.js";
import { LimitService } from "./gen/promptmesh/inference/v1/limits_pb.js";
import { ProviderKeyService } from "./gen/promptmesh/inference/v1/provider_keys_pb.js";
import { UsageService } from "./gen/promptmesh/inference/v1/usage_pb.js";
import { ModerationService, PolicyService } from "./gen/promptmesh/moderation/v1/moderation_pb.js";
import { PostService } from "./gen/promptmesh/prompts/v1/posts_pb.js";
import { transportFor, type PromptmeshOptions } from "./options.js";

/** The services of a mesh, with every method that a caller from outside has. Those of accounts: `createAccounts`. */
export interface Promptmesh {
  readonly auth: ServiceClient<typeof AuthService>;
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
  const transport = transportFor(options, "createPromptmesh");
  return {
    auth: createServiceClient(AuthService, transport),
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
