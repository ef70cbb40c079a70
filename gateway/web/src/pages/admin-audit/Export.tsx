/* The trail as a file of JSON lines. One that was cut on its way is not given out as whole. */
import { StreamCutError } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Dialog } from "../../components/Dialog";
import { download } from "../../components/download";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Progress } from "../../components/Pieces";
import { accountsApi } from "../../state/accountsApi";
import { toast } from "../../state/toasts";
import { moment } from "./filters";

const NEWLINE = 10;

export function Export({ onClose }: { onClose: () => void }) {
  const [lines, setLines] = useState<number>();
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const form = useForm({
    initial: { from: "", to: "" },
    rename: { beginTime: "from", endTime: "to" },
    submit: async ({ from, to }) => {
      const [beginTime, endTime] = [moment(from), moment(to)];
      const parts: Uint8Array[] = [];
      let count = 0;
      setLines(0);
      try {
        const request = { ...(beginTime && { beginTime }), ...(endTime && { endTime }) };
        for await (const { data } of accountsApi.audit.exportAuditRecords(request, { signal: stop.current.signal })) {
          parts.push(data);
          for (const byte of data) if (byte === NEWLINE) count++;
          setLines(count);
        }
        const text = await new Blob(parts as BlobPart[]).text();
        if (!text.trimEnd().split("\n").at(-1)?.startsWith('{"done"')) throw new StreamCutError("");
        download("promptmesh-audit.ndjson", "application/x-ndjson", text);
        toast("The trail is exported.");
        onClose();
      } finally {
        setLines(undefined);
      }
    },
  });
  return (
    <Dialog title="Export the trail" onClose={onClose}>
      <p class="soft">One JSON object a line, oldest first. Without times: all of it.</p>
      <Form form={form} label="Export the trail">
        <TextField label="From" optional type="datetime-local" {...form.field("from")} />
        <TextField label="Before" optional type="datetime-local" {...form.field("to")} />
        <div class="row">
          <SubmitButton form={form}>Export</SubmitButton>
        </div>
        {lines !== undefined && <Progress label={`${lines} records so far`} />}
      </Form>
    </Dialog>
  );
}
