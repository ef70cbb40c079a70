/* The organisations that one belongs to, and the one that one acts for. */
import { computed, effect, signal } from "@preact/signals";
import type { Organisation } from "@promptmesh/client/accounts";
import { problemOf } from "../components/problems";
import { navigate, place } from "../router/router";
import { session } from "./api";
import { actingFor, call, user } from "./session";
import { toast } from "./toasts";

/** One's own first. Empty until somebody looks. */
export const organisations = signal<Organisation[]>([]);

/** The team that one acts for, by name; undefined: oneself, nobody, or its name has not been read yet. */
export const actingTeam = computed(() => organisations.value.find((one) => !one.personal && one.orgId === actingFor.value));

/** Reads them for the menu. Where that fails the menu goes without. */
export function readOrganisations(): void {
  const reader = user.value?.userId;
  const read = async () => {
    const { accountsApi } = await import("./accountsApi");
    const answer = await accountsApi.organisations.listOrganisations({});
    if (user.value?.userId === reader) organisations.value = answer.organisations;
  };
  read().catch(() => undefined);
}

/** Follows for whom one acts: a team's name is read as soon as one does, and nobody sees the teams of who was here before. */
export function startOrganisations(): void {
  const reader = computed(() => user.value?.userId);
  const own = computed(() => user.value?.orgId ?? "");
  effect(() => {
    if (reader.value === undefined) organisations.value = [];
  });
  effect(() => {
    const org = actingFor.value;
    if (org && own.value && org !== own.value && !organisations.peek().some((one) => one.orgId === org)) readOrganisations();
  });
}

/** Acts for another one, in all tabs, and shows the page anew as it is for that one. */
export async function actFor(one: Organisation): Promise<void> {
  if (one.orgId === actingFor.value) return;
  try {
    await call(() => session.switchOrganisation(one.orgId));
  } catch (error) {
    toast(problemOf(error).text, { kind: "problem" });
    return;
  }
  toast(one.personal ? "You act for yourself now." : `You act for ${one.displayName} now.`);
  navigate(place.value.path + place.value.query, { replace: true });
}
