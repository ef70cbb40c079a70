import { PasswordField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Section } from "../../components/Section";
import { PASSWORD_HINT, tooShort } from "../../getting-in/passwords";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";

export function Password() {
  const form = useForm({
    initial: { currentPassword: "", newPassword: "" },
    check: ({ newPassword }) => {
      const short = tooShort(newPassword);
      return short ? { newPassword: short } : {};
    },
    submit: async ({ currentPassword, newPassword }) => {
      await accountsApi.accounts.changePassword({ currentPassword, newPassword });
      form.reset();
      toast("Your password is changed. All other devices are logged out.");
    },
  });
  return (
    <Section title="Password" lead="Changing it logs all your other devices out.">
      <Form form={form} label="Password">
        {/* So that a password manager knows whose it is. */}
        <input class="visually-hidden" type="text" autocomplete="username" value={user.value?.email} tabIndex={-1} aria-hidden="true" readOnly />
        <PasswordField
          label="Present password"
          autocomplete="current-password"
          aside={<a href={to.forgotPassword()}>Forgot it?</a>}
          {...form.field("currentPassword")}
        />
        <PasswordField label="New password" hint={PASSWORD_HINT} autocomplete="new-password" {...form.field("newPassword")} />
        <div class="row">
          <SubmitButton form={form} kind="plain">
            Change the password
          </SubmitButton>
        </div>
      </Form>
    </Section>
  );
}
