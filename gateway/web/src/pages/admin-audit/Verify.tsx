/* Walks the chain. A hash that was kept elsewhere shows whether the end was cut off. */
import { useState } from "preact/hooks";
import type { VerifyAuditChainResponse } from "@promptmesh/client/accounts";
import { count } from "../../components/amounts";
import { CopyButton } from "../../components/CopyButton";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Note } from "../../components/Pieces";
import { accountsApi } from "../../state/accountsApi";
import css from "./audit.module.css";

const WALK_MS = 120_000; // a long trail takes its time

export function Verify({ onClose }: { onClose: () => void }) {
  const [found, setFound] = useState<VerifyAuditChainResponse>();
  const form = useForm({
    initial: { hash: "", sequence: "" },
    check: ({ hash, sequence }) => ({
      ...(hash.trim() && !/^[0-9a-f]{64}$/.test(hash.trim()) && { hash: "A hash has 64 digits, 0 to 9 and a to f." }),
      ...(!/^\d*$/.test(sequence.trim()) && { sequence: "Enter the number of the record." }),
      ...(hash.trim() && !sequence.trim() && { sequence: "Enter the number that the hash belongs to." }),
    }),
    rename: { expectedHash: "hash", expectedSequence: "sequence" },
    submit: async ({ hash, sequence }) => {
      const request = { expectedHash: hash.trim(), expectedSequence: BigInt(sequence.trim() || 0) };
      setFound(undefined);
      setFound(await accountsApi.audit.verifyAuditChain(request, { timeoutMs: WALK_MS }));
    },
  });
  return (
    <Dialog title="Verify the chain" onClose={onClose}>
      <p class="soft">Every record’s hash is computed again from the first one on.</p>
      <Form form={form} label="Verify the chain">
        <TextField label="Hash that you kept" optional hint="Of an earlier check: shows whether records were cut off since." autocomplete="off" spellcheck={false} {...form.field("hash")} />
        <TextField label="Its number" optional inputMode="numeric" autocomplete="off" {...form.field("sequence")} />
        <div class="row">
          <SubmitButton form={form}>Verify</SubmitButton>
        </div>
      </Form>
      <div role="status">
        {found?.holds && (
          <Note tone="good" title={`The chain holds: ${count(found.records)} records`}>
            <p>Keep this hash and its number elsewhere, to find a cut-off end later.</p>
            <p class={css["hash"]}>
              <code>{found.head}</code>
            </p>
            <CopyButton text={found.head} label="Copy the hash" />
          </Note>
        )}
        {found && !found.holds && (
          <Note tone="bad" title={found.brokenSequence ? `The chain is broken at number ${found.brokenSequence}` : "The chain does not hold"}>
            <p>{found.fault}</p>
            <p>Somebody changed the trail, or the database was damaged. Keep what there is, and compare it with a backup.</p>
          </Note>
        )}
      </div>
    </Dialog>
  );
}
