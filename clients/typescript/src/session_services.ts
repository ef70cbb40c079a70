/** Services of which a session needs a few methods, seldom: they are loaded with the first of those, not with the page. */
export { FactorService } from "./gen/promptmesh/auth/v1/factors_pb.js";
export { FederationService } from "./gen/promptmesh/auth/v1/federation_pb.js";
export { OrganisationService } from "./gen/promptmesh/auth/v1/organisations_pb.js";
