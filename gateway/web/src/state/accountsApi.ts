/* The services of accounts and administration: a part of their own, which pages that need them load with themselves. What
   every page loads (the shell) takes it by `import()` alone. */
import { createAccounts } from "@promptmesh/client/accounts";
import { session } from "./api";

export const accountsApi = createAccounts({ baseUrl: location.origin, session });
