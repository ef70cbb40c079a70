/* Proves that an address is one's own, with the link of a mail and the password that was given with it. */
import { LinkButton } from "../../components/Button";
import { PasswordField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { session } from "../../state/api";
import { user } from "../../state/session";
import { AnotherLink, linkOver } from "./LinkOver";
import { LinkPage } from "./LinkPage";

const another = <LinkButton href={to.account()}>Send another link</LinkButton>;

export default function VerifyEmail() {
  return (
    <LinkPage
      title="Confirm your address"
      lead="Enter the password that you registered with. It is asked so that only who registered can confirm."
      missing={another}
      doneTitle="Your address is confirmed"
      done={
        user.value ? (
          <LinkButton kind="primary" href={to.feed()}>
            To the feed
          </LinkButton>
        ) : (
          <LinkButton kind="primary" href={to.logIn()}>
            Log in
          </LinkButton>
        )
      }
    >
      {(token, finish) => <Verify token={token} finish={finish} />}
    </LinkPage>
  );
}

function Verify({ token, finish }: { token: string; finish: () => void }) {
  const form = useForm({
    initial: { password: "" },
    check: ({ password }) => (password ? {} : { password: "Enter your password." }),
    submit: async ({ password }) => {
      await accountsApi.accounts.verifyEmail({ token, password });
      if (user.value) await session.reload().catch(() => undefined);
      finish();
    },
  });
  return (
    <Form form={form} label="Confirm your address">
      <PasswordField label="Password" autocomplete="current-password" {...form.field("password")} />
      <div class="row">
        <SubmitButton form={form}>Confirm the address</SubmitButton>
      </div>
      {linkOver(form.problem) && <AnotherLink>{another}</AnotherLink>}
    </Form>
  );
}
