/* What is kept of one, as a file; and leaving for good. */
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { download } from "../../components/download";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { ErrorNote } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { navigate } from "../../router/router";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { call, logOut, user } from "../../state/session";
import { toast } from "../../state/toasts";

export function Leaving() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const [deleting, setDeleting] = useState(false);
  const exportAll = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const { contentType, data } = await call(() => accountsApi.accounts.exportMe({}));
      download("promptmesh-account.json", contentType || "application/json", data);
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Section title="Your data">
      <Rows label="Your data">
        <Row
          name="Export"
          about="All that is kept of your account, as a JSON file."
          actions={
            <Button size="s" busy={busy} onClick={() => void exportAll()}>
              Export my data
            </Button>
          }
        />
        <Row
          name="Delete the account"
          about="Your posts, keys and sessions go with it. It cannot be taken back."
          actions={
            <Button size="s" kind="danger" onClick={() => setDeleting(true)}>
              Delete my account
            </Button>
          }
        />
      </Rows>
      {error !== undefined && <ErrorNote title="Nothing was exported" error={error} />}
      {deleting && <Delete onClose={() => setDeleting(false)} />}
    </Section>
  );
}

function Delete({ onClose }: { onClose: () => void }) {
  const email = user.value?.email ?? "";
  const form = useForm({
    initial: { typed: "" },
    check: ({ typed }) => (typed.trim().toLowerCase() === email ? {} : { typed: `Type ${email} to confirm.` }),
    submit: async () => {
      await accountsApi.accounts.deleteMe({});
      await logOut().catch(() => undefined);
      toast("Your account is deleted.");
      navigate(to.feed(), { replace: true });
    },
  });
  return (
    <Dialog title="Delete your account?" onClose={onClose}>
      <p>
        You are logged out everywhere at once, your API keys stop working, and what you published is erased. <strong>This cannot be taken back.</strong>
      </p>
      <Form form={form} label="Delete your account?">
        <TextField label={`To confirm, type your e-mail address: ${email}`} autocomplete="off" spellcheck={false} {...form.field("typed")} />
        <div class="row">
          <SubmitButton form={form} kind="danger">
            Delete my account for ever
          </SubmitButton>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </Form>
    </Dialog>
  );
}
