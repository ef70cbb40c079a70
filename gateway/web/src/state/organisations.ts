/* The organisations that one belongs to, and the one that one acts for. */
import { signal } from "@preact/signals";
import type { Organisation } from "@promptmesh/client";
import { problemOf } from "../components/problems";
import { navigate, place } from "../router/router";
import { api, session } from "./api";
import { actingFor, call } from "./session";
import { toast } from "./toasts";

/** One's own first. Empty until somebody looks. */
export const organisations = signal<Organisation[]>([]);

/** Reads them for the menu. Where that fails the menu goes without. */
export function readOrganisations(): void {
  api.organisations.listOrganisations({}).then(
    (answer) => (organisations.value = answer.organisations),
    () => undefined,
  );
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
