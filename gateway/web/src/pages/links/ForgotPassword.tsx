/* Asks for the mail with a link for a new password. The answer is the same whether an account has the address or not. */
import { useState } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";

export default function ForgotPassword() {
  const [sent, setSent] = useState("");
  const form = useForm({
    name: "forgot-password",
    initial: { email: "" },
    check: ({ email }) => (/^\S+@\S+$/.test(email) ? {} : { email: "Enter your e-mail address, such as ada@example.com." }),
    submit: async ({ email }) => {
      await accountsApi.accounts.requestPasswordReset({ email });
      setSent(email);
    },
  });
  if (sent) {
    return (
      <Page title="Look into your mail" width="narrow">
        <div role="status">
          <EmptyState
            title="A link is on its way"
            action={
              <div class="row">
                <LinkButton kind="primary" href={to.logIn()}>
                  To the log-in
                </LinkButton>
                <Button onClick={() => setSent("")}>Send it again</Button>
              </div>
            }
          >
            If an account has the address <strong>{sent}</strong>, it gets a mail with a link for a new password within a minute. The link
            is good for 30 minutes. Nothing came? Look among the unwanted mails, or check the address.
          </EmptyState>
        </div>
      </Page>
    );
  }
  return (
    <Page title="Forgot your password?" width="narrow" lead="We mail you a link, and you set a new one.">
      <Form form={form} label="Forgot your password?">
        <TextField label="E-mail" type="email" autocomplete="username" {...form.field("email")} />
        <div class="row spread">
          <SubmitButton form={form}>Send the link</SubmitButton>
          <a href={to.logIn()}>Back to the log-in</a>
        </div>
      </Form>
    </Page>
  );
}
