/* Roles in words. */
import { Role } from "@promptmesh/client";

const NAMES: Record<number, string> = {
  [Role.USER]: "User",
  [Role.MODERATOR]: "Moderator",
  [Role.ADMIN]: "Admin",
  [Role.AUDITOR]: "Auditor",
};

export const roleName = (role: Role): string => NAMES[role] ?? `Role ${role}`;

/** What tells people apart: everybody is a user. */
export const shownRoles = (roles: Role[]): Role[] => roles.filter((role) => role !== Role.USER);
