/* Sets a new password with the link of a mail. */
import type { ResetPasswordResponse } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { counted } from "../../components/amounts";
import { LinkButton } from "../../components/Button";
import { PasswordField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { PASSWORD_HINT, tooShort } from "../../getting-in/passwords";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { AnotherLink, linkOver } from "./LinkOver";
import { LinkPage } from "./LinkPage";

const another = <LinkButton href={to.forgotPassword()}>Send another link</LinkButton>;

/** How many of what, or nothing. */
const some = (count: number, one: string, more?: string): string => (count ? counted(count, one, more) : "");

/** What went with the old password: only where the address had never been confirmed. */
function removed(answer: ResetPasswordResponse): string | undefined {
  const parts = [
    some(answer.apiKeysRevoked, "API key"),
    some(answer.factorsRemoved, "second factor"),
    some(answer.identitiesUnlinked, "log-in elsewhere", "log-ins elsewhere"),
    some(answer.serviceAccountsDeleted, "service account"),
  ].filter(Boolean);
  if (parts.length === 0) return undefined;
  const all = new Intl.ListFormat("en").format(parts);
  return `Your address had never been confirmed before, so what was made with the account may not have been yours. Removed: ${all}. Make anew what you need.`;
}

export default function ResetPassword() {
  const [text, setText] = useState<string>();
  return (
    <LinkPage
      title="Set a new password"
      lead="All devices are logged out by it. A second factor stays as it is."
      missing={another}
      doneTitle="Your password is new"
      doneText={text}
      done={
        <LinkButton kind="primary" href={to.logIn()}>
          Log in with it
        </LinkButton>
      }
    >
      {(token, finish) => (
        <NewPassword
          token={token}
          finish={(answer) => {
            setText(removed(answer));
            finish();
          }}
        />
      )}
    </LinkPage>
  );
}

function NewPassword({ token, finish }: { token: string; finish: (answer: ResetPasswordResponse) => void }) {
  const form = useForm({
    initial: { newPassword: "" },
    check: ({ newPassword }) => {
      const short = tooShort(newPassword);
      return short ? { newPassword: short } : {};
    },
    rename: { password: "newPassword" },
    submit: async ({ newPassword }) => {
      finish(await accountsApi.accounts.resetPassword({ token, newPassword }));
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
