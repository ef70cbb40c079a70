/* One's address: whether it is proved, the mail once more, and another address. */
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Badge, ErrorNote, Note } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { accountsApi } from "../../state/accountsApi";
import { call, user } from "../../state/session";

export function Email() {
  const [changing, setChanging] = useState(false);
  const [asked, setAsked] = useState("");
  const me = user.value;
  if (!me) return null;
  return (
    <Section title="E-mail">
      <Rows label="E-mail">
        <Row
          name={
            <>
              {me.email}
              {me.emailVerified ? (
                <Badge tone="good" icon="check">
                  Confirmed
                </Badge>
              ) : (
                <Badge tone="warn">Not confirmed</Badge>
              )}
            </>
          }
          about={me.emailVerified ? "You log in with it, and mails about your account go there." : "Open the link in the mail that it got when you registered."}
          actions={
            !changing && (
              <Button size="s" onClick={() => setChanging(true)}>
                Change<span class="visually-hidden"> the e-mail address</span>
              </Button>
            )
          }
        />
      </Rows>
      {!me.emailVerified && <SendAgain />}
      {asked && (
        <div role="status">
          <Note tone="good" title={`A link is on its way to ${asked}`}>
            <p>Open it within an hour, in this browser, while you are logged in. Until then your address stays as it is.</p>
          </Note>
        </div>
      )}
      {changing && (
        <Change
          onDone={(email) => {
            setAsked(email);
            setChanging(false);
          }}
          onCancel={() => setChanging(false)}
        />
      )}
    </Section>
  );
}

function SendAgain() {
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState(false);
  const [error, setError] = useState<unknown>();
  const send = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await call(() => accountsApi.accounts.sendVerification({}));
      setSent(true);
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <div class="row">
        <Button busy={busy} onClick={() => void send()}>
          Send the link again
        </Button>
        <span role="status" class="small soft">
          {sent && "Sent. Nothing came? Look among the unwanted mails."}
        </span>
      </div>
      {error !== undefined && <ErrorNote error={error} />}
    </>
  );
}

function Change({ onDone, onCancel }: { onDone: (email: string) => void; onCancel: () => void }) {
  const form = useForm({
    initial: { newEmail: "" },
    check: ({ newEmail }) => (/^\S+@\S+$/.test(newEmail) ? {} : { newEmail: "Enter an e-mail address, such as ada@example.com." }),
    submit: async ({ newEmail }) => {
      await accountsApi.accounts.requestEmailChange({ newEmail });
      onDone(newEmail);
    },
  });
  return (
    <Form form={form} label="Change the e-mail address">
      <TextField label="New e-mail" hint="It gets a link; the present address is told." type="email" autocomplete="email" {...form.field("newEmail")} />
      <div class="row">
        <SubmitButton form={form}>Send the link</SubmitButton>
        <Button onClick={onCancel}>Cancel</Button>
      </div>
    </Form>
  );
}
