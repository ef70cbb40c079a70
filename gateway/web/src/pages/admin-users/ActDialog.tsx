/* Asks for the reason of an act, and for what else it needs, then does it. */
import type { User } from "@promptmesh/client";
import { Button } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { Select, TextArea, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { accountsApi } from "../../state/accountsApi";
import { useRead } from "../../state/paged";
import { toast } from "../../state/toasts";
import { ACTS, type ActName } from "./acts";

export interface ActDialogProps {
  act: ActName;
  one: User;
  onDone: (next: Partial<User>) => void;
  onClose: () => void;
}

const REASON_MAX = 500; // AdministrationService
const DAY_MS = 86_400_000;
const OWN = "own";
const LENGTHS = [
  { value: "1", label: "For a day" },
  { value: "7", label: "For a week" },
  { value: "30", label: "For 30 days" },
  { value: "365", label: "For a year" },
  { value: OWN, label: "Until a time that I choose" },
];

export function ActDialog({ act: name, one, onDone, onClose }: ActDialogProps) {
  const act = ACTS[name];
  const form = useForm({
    initial: { reason: "", length: "7", until: "", plan: one.plan },
    check: ({ reason, length, until }) => ({
      ...(!reason.trim() && { reason: "Say why: it stands in the audit trail." }),
      ...(name === "suspend" && length === OWN && !(new Date(until).getTime() > Date.now()) && { until: "Choose a time that is to come." }),
    }),
    rename: { expireTime: "until" },
    submit: async ({ reason, length, until, plan }) => {
      const end = length === OWN ? new Date(until) : new Date(Date.now() + Number(length) * DAY_MS);
      const { said, next } = await act.run(one.userId, { reason, until: end, plan });
      toast(said);
      onDone(next);
    },
  });
  return (
    <Dialog title={act.title(one.displayName)} onClose={onClose}>
      <p>
        <strong>{one.displayName}</strong> <span class="soft">({one.email})</span>
      </p>
      <p class="soft">{act.about}</p>
      <Form form={form} label={act.title(one.displayName)}>
        {name === "suspend" && (
          <>
            <Select label="How long" options={LENGTHS} {...form.field("length")} />
            {form.values.length === OWN && <TextField label="Until" type="datetime-local" {...form.field("until")} />}
          </>
        )}
        {name === "plan" && <Plans value={form.values.plan} onValue={(plan) => form.set("plan", plan)} />}
        <TextArea
          label="Reason"
          hint={name === "suspend" ? "The person is told it, and it stands in the audit trail." : "It stands in the audit trail."}
          rows={2}
          maxLength={REASON_MAX}
          {...form.field("reason")}
        />
        <div class="row">
          <SubmitButton form={form} kind={act.kind}>
            {act.action}
          </SubmitButton>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </Form>
    </Dialog>
  );
}

function Plans({ value, onValue }: { value: string; onValue: (plan: string) => void }) {
  const plans = useRead("plans", (signal) => accountsApi.plans.listPlans({}, { signal }));
  const known = plans.value?.plans ?? [];
  const usual = known.find((one) => one.name === plans.value?.defaultPlan);
  return (
    <Select
      label="Plan"
      value={value}
      onValue={onValue}
      {...(plans.error !== undefined && { error: "The plans could not be read. Close this and try again." })}
      options={[
        { value: "", label: usual ? `The default one (${usual.displayName || usual.name})` : "The default one" },
        ...(value && !known.some((one) => one.name === value) ? [{ value, label: value }] : []),
        ...known.map((one) => ({ value: one.name, label: one.displayName || one.name })),
      ]}
    />
  );
}
