// Makes a team and a service account in it, and lists the teams that one belongs to.
import { newRequestId, Session } from "@promptmesh/client";
import { createAccounts, MemberRole } from "@promptmesh/client/accounts";

const baseUrl = process.env.PROMPTMESH_URL ?? "http://localhost:8080";
const session = new Session({ baseUrl });
const { organisations } = createAccounts({ baseUrl, session });

await session.register(`${newRequestId()}@example.com`, "a long enough password", "Ada");
const team = await organisations.createOrganisation({ displayName: "Analytical Engines", requestId: newRequestId() });
await organisations.createServiceAccount({ orgId: team.orgId, displayName: "Nightly reports", requestId: newRequestId() });

for (const one of (await organisations.listOrganisations({})).organisations) {
  console.log(`${one.displayName}: ${one.personal ? "your own" : MemberRole[one.role]}`);
}
await session.switchOrganisation(team.orgId); // from now on calls, posts and keys are the team's
