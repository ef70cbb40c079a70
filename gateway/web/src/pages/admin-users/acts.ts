/* What an admin can do with somebody's account. Each needs a reason, which stands in the audit trail. */
import { timestampFromDate, type User } from "@promptmesh/client";
import { counted } from "../../components/amounts";
import { accountsApi } from "../../state/accountsApi";

export type ActName = "suspend" | "restore" | "sessions" | "factors" | "keys" | "plan";

export interface ActValues {
  reason: string;
  /** Of a suspension. */
  until: Date;
  /** Name of a plan; empty: the default one. */
  plan: string;
}

export interface Act {
  /** In the menu. */
  label: string;
  title: (name: string) => string;
  /** What happens. */
  about: string;
  action: string;
  kind: "danger" | "primary";
  /** Does it; answers what to say of it, and what the list shows from now on. */
  run: (userId: string, values: ActValues) => Promise<{ said: string; next: Partial<User> }>;
}

export const ACTS: Record<ActName, Act> = {
  suspend: {
    label: "Suspend",
    title: (name) => `Suspend ${name}?`,
    about: "Everything of theirs is refused within a second: sessions, keys, calls under way. They are told the reason and the end.",
    action: "Suspend",
    kind: "danger",
    run: async (userId, { reason, until }) => {
      const next = await accountsApi.administration.suspendUser({ userId, reason, expireTime: timestampFromDate(until) });
      return { said: `${next.displayName} is suspended.`, next };
    },
  },
  restore: {
    label: "End the suspension",
    title: (name) => `Let ${name} in again?`,
    about: "The suspension ends now. They log in as before.",
    action: "End the suspension",
    kind: "primary",
    run: async (userId, { reason }) => {
      const next = await accountsApi.administration.restoreUser({ userId, reason });
      return { said: `${next.displayName} is suspended no more.`, next };
    },
  },
  sessions: {
    label: "Log out everywhere",
    title: (name) => `Log ${name} out everywhere?`,
    about: "All their sessions end within a second. API keys go on working.",
    action: "Log out everywhere",
    kind: "danger",
    run: async (userId, { reason }) => {
      const { ended } = await accountsApi.administration.endSessions({ userId, reason });
      return { said: `${counted(ended, "session")} ended.`, next: {} };
    },
  },
  factors: {
    label: "Reset the second factor",
    title: (name) => `Reset the second factor of ${name}?`,
    about: "Apps, passkeys and recovery codes of theirs are gone, and their sessions end; a mail tells them. Be sure that it is they who ask.",
    action: "Reset the second factor",
    kind: "danger",
    run: async (userId, { reason }) => {
      const next = await accountsApi.administration.resetSecondFactor({ userId, reason });
      return { said: `${next.displayName} logs in by password alone now.`, next };
    },
  },
  keys: {
    label: "Revoke all API keys",
    title: (name) => `Revoke all API keys of ${name}?`,
    about: "Programs that use one are refused from the next second on. This cannot be taken back.",
    action: "Revoke all keys",
    kind: "danger",
    run: async (userId, { reason }) => {
      const { revoked } = await accountsApi.administration.revokeApiKeys({ userId, reason });
      return { said: `${counted(revoked, "key")} revoked.`, next: {} };
    },
  },
  plan: {
    label: "Set the plan",
    title: (name) => `Set the plan of ${name}`,
    about: "Their own limits come from it, within a second. Teams have plans of their own.",
    action: "Set the plan",
    kind: "primary",
    run: async (userId, { reason, plan }) => {
      const set = await accountsApi.plans.setPlan({ subject: { case: "userId", value: userId }, plan, reason });
      return { said: "The plan is set.", next: { plan: set.plan } };
    },
  },
};
