import { newRequestId, timestampFromDate, type CreateApiKeyResponse } from "@promptmesh/client";
import { Checkbox, Select, TextField } from "../../components/Field";
import { Dialog } from "../../components/Dialog";
import { Form, SubmitButton, useForm } from "../../components/form";
import { api } from "../../state/api";
import { networksOf, Restrictions } from "./Restrictions";
import { SCOPES } from "./scopes";
import type { Owner } from "./serviceAccounts";
import css from "./keys.module.css";

const NEVER = "never";
const EXPIRIES = [
  { value: "7", label: "After 7 days" },
  { value: "30", label: "After 30 days" },
  { value: "90", label: "After 90 days" },
  { value: "365", label: "After a year" },
  { value: NEVER, label: "Never, until it is revoked" },
];
const USUAL_EXPIRY = "90";
const DAY_MS = 86_400_000;

export interface MakeKeyProps {
  /** The service account whose key it is to be; undefined: one's own. */
  owner?: Owner;
  onMade: (made: CreateApiKeyResponse) => void;
  onClose: () => void;
}

export function MakeKey({ owner, onMade, onClose }: MakeKeyProps) {
  const form = useForm({
    name: "new-key",
    initial: { displayName: "", expiry: USUAL_EXPIRY, scopes: SCOPES.filter((one) => one.usual).map((one) => one.name), networks: "", models: [] as string[] },
    // No scope named would mean the usual ones to the server.
    check: ({ displayName, scopes }) => ({
      ...(!displayName.trim() && { displayName: "Give it a name, such as where it is used." }),
      ...(!scopes.length && { scopes: "Allow one thing at least." }),
    }),
    rename: { expireTime: "expiry", allowedNetworks: "networks" },
    submit: async ({ displayName, expiry, scopes, networks, models }) => {
      const days = Number(expiry);
      onMade(
        await api.auth.createApiKey({
          displayName,
          scopes,
          allowedNetworks: networksOf(networks),
          models,
          ...(owner && { serviceAccountId: owner.id }),
          ...(expiry !== NEVER && { expireTime: timestampFromDate(new Date(Date.now() + days * DAY_MS)) }),
          requestId: newRequestId(),
        }),
      );
    },
  });
  const { scopes } = form.values;
  const allow = (name: string, on: boolean) => form.set("scopes", on ? [...scopes, name] : scopes.filter((one) => one !== name));
  return (
    <Dialog title="Make an API key" onClose={onClose}>
      {owner && (
        <p class="soft">
          It acts as <strong>{owner.label}</strong>, not as you.
        </p>
      )}
      <Form form={form} label="Make an API key">
        <TextField
          label="Name"
          hint="Where it is used, so that you know later which one to revoke."
          maxLength={64}
          autocomplete="off"
          {...form.field("displayName")}
        />
        <fieldset class={css["scopes"]} aria-describedby={form.errors.scopes ? "scopes-error" : undefined}>
          <legend>What it may do</legend>
          <p class="small soft">Chosen is what most programs need. Add no more than this one does: whoever finds the key can do all of it.</p>
          {SCOPES.map((scope) => (
            <Checkbox
              key={scope.name}
              label={
                <>
                  {scope.label} <code class="small faint">{scope.name}</code>
                </>
              }
              hint={scope.allows}
              checked={scopes.includes(scope.name)}
              onChecked={(on) => allow(scope.name, on)}
            />
          ))}
          {form.errors.scopes && (
            <p id="scopes-error" class={css["error"]} role="alert">
              {form.errors.scopes}
            </p>
          )}
        </fieldset>
        <Restrictions form={form} />
        <Select label="Ends by itself" options={EXPIRIES} {...form.field("expiry")} />
        <div class="row">
          <SubmitButton form={form}>Make the key</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
