/* Sets a new password with the link of a mail. */
import { LinkButton } from "../../components/Button";
import { PasswordField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { PASSWORD_HINT, tooShort } from "../../getting-in/passwords";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { AnotherLink, linkOver } from "./LinkOver";
import { LinkPage } from "./LinkPage";

const another = <LinkButton href={to.forgotPassword()}>Send another link</LinkButton>;

export default function ResetPassword() {
  return (
    <LinkPage
      title="Set a new password"
      lead="All devices are logged out by it. A second factor stays as it is."
      missing={another}
      doneTitle="Your password is new"
      done={
        <LinkButton kind="primary" href={to.logIn()}>
          Log in with it
        </LinkButton>
      }
    >
      {(token, finish) => <NewPassword token={token} finish={finish} />}
    </LinkPage>
  );
}

function NewPassword({ token, finish }: { token: string; finish: () => void }) {
  const form = useForm({
    initial: { newPassword: "" },
    check: ({ newPassword }) => {
      const short = tooShort(newPassword);
      return short ? { newPassword: short } : {};
    },
    rename: { password: "newPassword" },
    submit: async ({ newPassword }) => {
      await accountsApi.accounts.resetPassword({ token, newPassword });
      finish();
    },
  });
  return (
    <Form form={form} label="Set a new password">
      <PasswordField label="New password" hint={PASSWORD_HINT} autocomplete="new-password" {...form.field("newPassword")} />
      <div class="row">
        <SubmitButton form={form}>Set the password</SubmitButton>
      </div>
      {linkOver(form.problem) && <AnotherLink>{another}</AnotherLink>}
    </Form>
  );
}
