/* Roles of members in words. */
import { MemberRole } from "@promptmesh/client/accounts";

const NAMES: Record<number, string> = {
  [MemberRole.OWNER]: "Owner",
  [MemberRole.ADMIN]: "Admin",
  [MemberRole.MEMBER]: "Member",
};

export const memberRoleName = (role: MemberRole): string => NAMES[role] ?? `Role ${role}`;

/** Whether they look after members, service accounts and keys. */
export const administers = (role: MemberRole): boolean => role === MemberRole.OWNER || role === MemberRole.ADMIN;

/** The roles that somebody with a role may give, as options. */
export const rolesToGive = (own: MemberRole): { value: string; label: string }[] =>
  [MemberRole.MEMBER, MemberRole.ADMIN, ...(own === MemberRole.OWNER ? [MemberRole.OWNER] : [])].map((role) => ({
    value: String(role),
    label: memberRoleName(role),
  }));
