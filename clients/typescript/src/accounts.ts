/**
 * The services of accounts and administration: `@promptmesh/client/accounts`.
 *
 * They stand apart, so that programs which only call models or publish do not load them. Their messages, enums and schemas
 * are exported by their names; everything else (`Session`, errors, `pages`) is of `@promptmesh/client`.
 */
import { createServiceClient, type ServiceClient } from "./calls.js";
import { AccountService } from "./gen/promptmesh/auth/v1/accounts_pb.js";
import { AdministrationService } from "./gen/promptmesh/auth/v1/administration_pb.js";
import { AuditService } from "./gen/promptmesh/auth/v1/audit_pb.js";
import { FactorService } from "./gen/promptmesh/auth/v1/factors_pb.js";
import { FederationService } from "./gen/promptmesh/auth/v1/federation_pb.js";
import { OrganisationService } from "./gen/promptmesh/auth/v1/organisations_pb.js";
import { PlanService } from "./gen/promptmesh/auth/v1/plans_pb.js";
import { transportFor, type PromptmeshOptions } from "./options.js";

/** The services that are about people, teams and who may do what. */
export interface Accounts {
  readonly accounts: ServiceClient<typeof AccountService>;
  readonly administration: ServiceClient<typeof AdministrationService>;
  readonly audit: ServiceClient<typeof AuditService>;
  readonly factors: ServiceClient<typeof FactorService>;
  readonly federation: ServiceClient<typeof FederationService>;
  readonly organisations: ServiceClient<typeof OrganisationService>;
  readonly plans: ServiceClient<typeof PlanService>;
}

/** Makes the typed clients of accounts and administration, with the options of `createPromptmesh`: the same session too. */
export function createAccounts(options: PromptmeshOptions): Accounts {
  const transport = transportFor(options, "createAccounts");
  return {
    accounts: createServiceClient(AccountService, transport),
    administration: createServiceClient(AdministrationService, transport),
    audit: createServiceClient(AuditService, transport),
    factors: createServiceClient(FactorService, transport),
    federation: createServiceClient(FederationService, transport),
    organisations: createServiceClient(OrganisationService, transport),
    plans: createServiceClient(PlanService, transport),
  };
}

export type { PromptmeshOptions } from "./options.js";
export * from "./gen/promptmesh/auth/v1/accounts_pb.js";
export * from "./gen/promptmesh/auth/v1/administration_pb.js";
export * from "./gen/promptmesh/auth/v1/audit_pb.js";
export * from "./gen/promptmesh/auth/v1/factors_pb.js";
export * from "./gen/promptmesh/auth/v1/federation_pb.js";
export * from "./gen/promptmesh/auth/v1/organisations_pb.js";
export * from "./gen/promptmesh/auth/v1/plans_pb.js";
