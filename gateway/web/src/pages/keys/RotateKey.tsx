/* A key's next secret. The one before stays good for a while, so that programs can change over without a gap. */
import type { ApiKey, CreateApiKeyResponse } from "@promptmesh/client";
import { Dialog } from "../../components/Dialog";
import { Select } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Note } from "../../components/Pieces";
import { api } from "../../state/api";
import css from "./keys.module.css";

const OVERLAPS = [
  { value: "0", label: "Not at all: it ends at once" },
  { value: "3600", label: "For an hour" },
  { value: "86400", label: "For a day" },
  { value: "604800", label: "For a week" },
  { value: "2592000", label: "For 30 days" },
];
const USUAL_OVERLAP = "86400";

export function RotateKey({ apiKey, onMade, onClose }: { apiKey: ApiKey; onMade: (made: CreateApiKeyResponse) => void; onClose: () => void }) {
  const form = useForm({
    initial: { overlap: USUAL_OVERLAP },
    rename: { overlapSeconds: "overlap" },
    submit: async ({ overlap }) => onMade(await api.auth.rotateApiKey({ apiKeyId: apiKey.apiKeyId, overlapSeconds: Number(overlap) })),
  });
  return (
    <Dialog title="Rotate this key?" onClose={onClose}>
      <p>
        <strong class={css["name"]}>{apiKey.displayName}</strong> gets a new secret, shown once. What it may do stays as it is.
      </p>
      {apiKey.previousExpireTime && (
        <Note tone="warn">It is being rotated already. The oldest of its secrets ends at once.</Note>
      )}
      <Form form={form} label="Rotate this key?">
        <Select label="The present secret goes on working" options={OVERLAPS} {...form.field("overlap")} />
        <div class="row">
          <SubmitButton form={form}>Make a new secret</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
