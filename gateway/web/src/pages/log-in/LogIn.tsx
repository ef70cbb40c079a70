import { useEffect } from "preact/hooks";
import { PasswordField, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { navigate, query } from "../../router/router";
import { to } from "../../router/routes";
import { logIn, who } from "../../state/session";
import { afterwards } from "./afterwards";

export default function LogIn() {
  const then = afterwards(query.value.get("then"));
  const form = useForm({
    name: "log-in",
    initial: { email: "", password: "" },
    secret: ["password"],
    check: ({ email, password }) => ({
      ...(!email && { email: "Enter your e-mail address." }),
      ...(!password && { password: "Enter your password." }),
    }),
    submit: ({ email, password }) => logIn(email, password),
  });
  const state = who.value.state;
  useEffect(() => {
    if (state === "in") navigate(then, { replace: true });
  }, [state]);
  return (
    <Page
      title="Log in"
      width="narrow"
      lead={
        <>
          New here? <a href={to.register(then)}>Register</a>
        </>
      }
    >
      <Form form={form} label="Log in">
        <TextField label="E-mail" type="email" autocomplete="username" {...form.field("email")} />
        <PasswordField label="Password" autocomplete="current-password" {...form.field("password")} />
        <SubmitButton form={form}>Log in</SubmitButton>
      </Form>
    </Page>
  );
}
