/* The service accounts whose keys one may make: those of organisations that one administers. */
import { MemberRole, type ServiceAccount } from "@promptmesh/client/accounts";
import { accountsApi } from "../../state/accountsApi";
import { organisations } from "../../state/organisations";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";

export interface Owner {
  id: string;
  /** "Deploy bot, of Acme". */
  label: string;
}

/** Empty while it is read, and where the mesh has no such thing. */
export function useServiceAccounts(): Owner[] {
  const read = useRead(user.value?.userId ?? "", async (signal) => {
    const all = (await accountsApi.organisations.listOrganisations({}, { signal })).organisations;
    organisations.value = all;
    const mine = all.filter((one) => one.role === MemberRole.OWNER || one.role === MemberRole.ADMIN);
    const lists = await Promise.all(mine.map(({ orgId }) => accountsApi.organisations.listServiceAccounts({ orgId }, { signal })));
    return lists.flatMap(({ serviceAccounts }, index) => serviceAccounts.map((one) => owner(one, mine[index]?.displayName ?? "")));
  });
  return read.value ?? [];
}

const owner = (one: ServiceAccount, of: string): Owner => ({ id: one.serviceAccountId, label: `${one.displayName}, of ${of}` });
