/* Logs in again over the page, which stays as it is; then what was refused is repeated. */
import { Dialog } from "../components/Dialog";
import { PasswordField, TextField } from "../components/Field";
import { Form, SubmitButton, useForm } from "../components/form";
import { place } from "../router/router";
import { to } from "../router/routes";
import { giveUpLogIn, logIn, loginAsked, user } from "../state/session";

export function LogInDialog() {
  const reason = loginAsked.value;
  return reason === undefined ? null : <Asking reason={reason} />;
}

function Asking({ reason }: { reason: string }) {
  const form = useForm({
    initial: { email: user.value?.email ?? "", password: "" },
    check: ({ email, password }) => ({
      ...(!email && { email: "Enter your e-mail address." }),
      ...(!password && { password: "Enter your password." }),
    }),
    submit: ({ email, password }) => logIn(email, password),
  });
  return (
    <Dialog title="Log in" onClose={giveUpLogIn}>
      <p class="soft">{reason}</p>
      <Form form={form} label="Log in">
        <TextField label="E-mail" type="email" autocomplete="username" {...form.field("email")} />
        <PasswordField label="Password" autocomplete="current-password" {...form.field("password")} />
        <div class="row spread">
          <SubmitButton form={form}>Log in</SubmitButton>
          {!user.value && (
            <a href={to.register(place.value.path)} onClick={giveUpLogIn}>
              Register instead
            </a>
          )}
        </div>
      </Form>
    </Dialog>
  );
}
