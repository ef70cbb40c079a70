import { useEffect } from "preact/hooks";
import { PasswordField, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { navigate, query } from "../../router/router";
import { to } from "../../router/routes";
import { register, who } from "../../state/session";
import { afterwards } from "../log-in/afterwards";

const PASSWORD_MIN = 10; // RegisterRequest.password

export default function Register() {
  const then = afterwards(query.value.get("then"));
  const form = useForm({
    name: "register",
    initial: { displayName: "", email: "", password: "" },
    secret: ["password"],
    check: ({ displayName, email, password }) => ({
      ...(!displayName.trim() && { displayName: "Enter the name that others will see." }),
      ...(!/^\S+@\S+$/.test(email) && { email: "Enter your e-mail address, such as ada@example.com." }),
      ...([...password].length < PASSWORD_MIN && { password: `Use at least ${PASSWORD_MIN} characters.` }),
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
          hint={`At least ${PASSWORD_MIN} characters. A few words are better than one hard one.`}
          autocomplete="new-password"
          {...form.field("password")}
        />
        <SubmitButton form={form}>Register</SubmitButton>
      </Form>
    </Page>
  );
}
