import { useEffect } from "preact/hooks";
import { PasswordField, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { PASSWORD_HINT, tooShort } from "../../getting-in/passwords";
import { navigate, query } from "../../router/router";
import { to } from "../../router/routes";
import { register, who } from "../../state/session";
import { afterwards } from "../log-in/afterwards";

export default function Register() {
  const then = afterwards(query.value.get("then"));
  const form = useForm({
    name: "register",
    initial: { displayName: "", email: "", password: "" },
    secret: ["password"],
    check: ({ displayName, email, password }) => ({
      ...(!displayName.trim() && { displayName: "Enter the name that others will see." }),
      ...(!/^\S+@\S+$/.test(email) && { email: "Enter your e-mail address, such as ada@example.com." }),
      ...(tooShort(password) && { password: tooShort(password) }),
    }),
    submit: ({ displayName, email, password }) => register(email, password, displayName),
  });
  const state = who.value.state;
  useEffect(() => {
    if (state === "in") navigate(then, { replace: true });
  }, [state]);
  return (
    <Page
      title="Register"
      width="narrow"
      lead={
        <>
          Registered already? <a href={to.logIn(then)}>Log in</a>
        </>
      }
    >
      <Form form={form} label="Register">
        <TextField
          label="Name"
          hint="Shown with what you publish."
          autocomplete="nickname"
          maxLength={64}
          {...form.field("displayName")}
        />
        <TextField label="E-mail" hint="Only for logging in; never shown." type="email" autocomplete="username" {...form.field("email")} />
        <PasswordField
          label="Password"
          hint={PASSWORD_HINT}
          autocomplete="new-password"
          {...form.field("password")}
        />
        <SubmitButton form={form}>Register</SubmitButton>
      </Form>
    </Page>
  );
}
